"""`fleetcd-agent show` and `status`: how the device stands, for people and for applications."""

import argparse
import json
import sys

from device_agent import app, durable
from device_agent.app import Who
from device_agent.exit_codes import ExitCode
from device_agent.settings import load_local
from device_agent.status import NoStatus, Reading, Status, in_words, read_status, to_bytes
from schemas.wire.decode import to_json


def show(options: argparse.Namespace) -> int:
    """Print what the journal and the bootloader say."""
    settings = load_local(options.config)
    durable.make_directory(settings.device.state)
    found = app.status(settings, Who.COMMAND)
    if options.output == "json":
        sys.stdout.write(json.dumps(to_json(found), indent=2, sort_keys=True) + "\n")
    elif isinstance(found, Status):
        sys.stdout.write("".join(f"{line}\n" for line in lines(found)))
    return _code(found)


def status(options: argparse.Namespace) -> int:
    """Print the daemon's answer; when nobody answers, the same from the journal."""
    settings = load_local(options.config)
    path = app.socket_path(settings)
    if answer := read_status(path) if path else None:
        sys.stdout.write(answer.decode())
        return ExitCode.DONE
    durable.make_directory(settings.device.state)
    found = app.status(settings, Who.COMMAND)
    sys.stdout.write(to_bytes(found).decode())
    return _code(found)


def _code(found: Reading) -> ExitCode:
    if isinstance(found, NoStatus):
        sys.stderr.write(f"fleetcd-agent: {found.error}\n")
        return ExitCode.UNAVAILABLE
    return ExitCode.DONE


def lines(found: Status) -> list[str]:
    """Return what a person reads."""
    here, slot, outcome = found.running, found.slot, found.last_outcome
    said = [
        f"{found.name}, fleet {found.fleet or 'none'}",
        f"runs: {here.content if here else 'nothing that fleetcd installed'}",
    ]
    if found.artifact:
        said.append(f"artifact: {found.artifact}")
    if slot.running:
        trial = f", {slot.trial} on trial" if slot.trial else ""
        said.append(f"slot: {slot.running} (primary {slot.primary}{trial})")
    if work := found.deployment:
        said.append(f"at work: {work.content}: {work.state} ({work.waiting or 'in progress'})")
    if found.trouble:
        said.append(f"trouble: {found.trouble}")
    if found.by_hand:
        said.append(f"by hand: {found.by_hand}")
    elif found.inhibited:
        said.append(f"not now: {found.inhibited}")
    if outcome:
        said.append(f"last: set {in_words(outcome)}")
    stale = f", not refreshed since {found.stale_since:%F %T} UTC" if found.stale_since else ""
    said.append(f"published tree: timestamp {found.timestamp_version}{stale}")
    return said
