"""The commands for what a fleet wants of this device, as `fleetcd-agent` offers them."""

import argparse
import sys
from pathlib import Path

from device_agent import app
from device_agent.core.states import State
from device_agent.driver import Decision, NothingToDecide
from device_agent.errors import TransientError, UpdateRejected
from device_agent.exit_codes import ByHand, ExitCode
from device_agent.journal import Journal
from device_agent.lock import locked
from device_agent.settings import Settings, load
from device_agent.status import INHIBITED, SLOT_TROUBLE, in_words
from schemas.wire.report import FailureClass, Outcome


def check(options: argparse.Namespace) -> int:
    """Ask the published tree, and print what it wants."""
    settings = load(options.config)
    with locked(_lock(settings)):
        agent = app.agent(settings, app.journal(settings))
        try:
            target = agent.look()
        except (TransientError, UpdateRejected) as error:
            return _complain(f"the published tree cannot be used: {error}", ExitCode.UNAVAILABLE)
        record = agent.journal.record()
    _say(f"{target.action}: {target.reason}")
    if target.content:
        _say(f"target: set {target.set}, {target.content}")
    if record:
        _say(f"at work: set {record.set}, {record.state}")
    return ExitCode.DONE


def converge(options: argparse.Namespace, stop: State | None) -> int:
    """Do now what the fleet wants, up to the state `stop`."""
    settings = load(options.config)
    with locked(_lock(settings)):
        opened = app.journal(settings)
        before = opened.last_outcome()
        done = app.agent(settings, opened).poll(stop_before=stop)
        if done.trouble:
            return _complain(done.trouble, ExitCode.UNAVAILABLE)
        return _ended(opened, new=opened.last_outcome() != before)


def go_on(options: argparse.Namespace, opened: Journal) -> int:
    """Let the deployment that waits for a decision go on."""
    return _decide(options, opened, Decision.GO_ON)


def roll_back(options: argparse.Namespace, opened: Journal) -> int:
    """Undo the deployment that waits for a decision."""
    return _decide(options, opened, Decision.ROLL_BACK)


def _decide(options: argparse.Namespace, opened: Journal, decision: Decision) -> int:
    """Decide about the fleet's deployment, which does not stop again on its way."""
    if options.stop_before:
        options.complain("a deployment of the fleet is at work: it takes no --stop-before here")
    try:
        app.agent(load(options.config), opened).decide(decision)
    except NothingToDecide:
        _say("No update in progress.")
        why = "a deployment of the fleet is at work, and waits for no decision"
        return _complain(why, ByHand.NONE_IN_PROGRESS)
    record, outcome = opened.record(), opened.last_outcome()
    if decision is Decision.ROLL_BACK and record is None and outcome and not outcome.inconsistent:
        _say("rolled back")
        return ExitCode.DONE
    return _ended(opened, new=True)


def _lock(settings: Settings) -> Path:
    settings.device.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings.device.state / "agent.lock"


def _ended(opened: Journal, *, new: bool) -> ExitCode:
    """Say how the deployment stands, if one was at work in this call."""
    record, outcome = opened.record(), opened.last_outcome()
    if record:
        _say(f"set {record.set} waits before {record.state}: {record.waiting or 'interrupted'}")
        return ExitCode.WAITING
    if obstacle := opened.recall(SLOT_TROUBLE) or opened.recall(INHIBITED):
        _say(f"not begun: {obstacle}")
        return ExitCode.WAITING
    if not new or outcome is None:
        _say("nothing to do")
        return ExitCode.DONE
    _say(f"set {in_words(outcome)}")
    if outcome.outcome is Outcome.FAILED:
        return ExitCode.FAILED
    away = outcome.outcome is Outcome.NEUTRAL and outcome.failure is FailureClass.NETWORK
    return ExitCode.UNAVAILABLE if away else ExitCode.DONE


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"fleetcd-agent: {message}\n")
    return code
