"""The bootloader's side of the file bootloader: what a supervisor calls to start the "machine"."""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from device_agent.boot.environment import Environment, load, save


@dataclass(frozen=True, slots=True)
class Booted:
    """The slot to start, and the id of this boot (32 hex digits, never the same twice)."""

    slot: str
    boot_id: str


def boot(directory: Path, *, default: str = "a") -> Booted:
    """Decide which slot starts now, count the try down, and return it.

    With no intact variables (a new device, or both copies lost) `default` starts and becomes the
    primary. Raises OSError when the decision cannot be saved: then nothing may be started, least of
    all a trial, because a try that was not counted could be repeated for ever.
    """
    variables = next_boot(load(directory), secrets.token_hex(16), default=default)
    save(directory, variables)
    return Booted(variables.running, variables.boot_id)


def next_boot(old: Environment | None, boot_id: str, *, default: str) -> Environment:
    """Return the variables as this boot begins: one try spent, or the trial given up. Pure."""
    if old is None:
        return Environment(default, None, 0, default, boot_id, 1)
    started = replace(old, boot_id=boot_id, boots=old.boots + 1)
    if old.trial is not None and old.tries > 0:
        return replace(started, running=old.trial, tries=old.tries - 1)
    return replace(started, running=old.primary, trial=None, tries=0)
