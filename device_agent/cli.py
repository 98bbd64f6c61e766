"""`fleetcd-agent`: the daemon, and what a person on the device may ask for."""

import argparse
import json
import logging
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from device_agent import app
from device_agent.core.states import State
from device_agent.errors import AgentError, TransientError, UpdateRejected
from device_agent.exit_codes import ExitCode
from device_agent.journal import Journal
from device_agent.lock import Busy, locked
from device_agent.settings import DEFAULT_PATH, Misconfigured, Settings, load
from schemas.refusal import Refusal
from schemas.wire.decode import to_json
from schemas.wire.report import Outcome

STOPS = {"install": State.INSTALL, "reboot": State.REBOOT, "commit": State.COMMIT}
EXIT_CODES = """exit codes:
  0   done: converged, or nothing to do
  1   the deployment failed and was undone
  2   the command line or the configuration is wrong
  3   a deployment waits: for the published tree, a hold, or your decision
  69  the network or the journal's disk is away; try again later
  75  the machine has to restart now (with [machine] reboot = "exit")
  76  another fleetcd-agent works on this device"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    level = logging.INFO if options.command == "daemon" or options.verbose else logging.ERROR
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    run: Callable[[Settings, argparse.Namespace], int] = options.run
    try:
        return run(load(options.config), options)
    except SystemExit as leaving:  # the machine's restart, with reboot = "exit"
        if leaving.code == ExitCode.REBOOT:
            _say("the machine has to restart now; the daemon then goes on with the deployment")
        raise
    except Misconfigured as error:
        return _complain(str(error), ExitCode.USAGE)
    except Busy as error:
        return _complain(str(error), ExitCode.LOCKED)
    except (AgentError, Refusal, OSError) as error:
        return _complain(str(error), ExitCode.UNAVAILABLE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fleetcd-agent",
        description="Keeps this device at what its fleet's signed manifest says.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done to stderr")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[Settings, argparse.Namespace], int], help: str
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help, description=help)
        one.add_argument("--config", type=Path, default=DEFAULT_PATH, metavar="FILE")
        one.set_defaults(run=run)
        return one

    command("daemon", _daemon, "poll, converge and report until told to end")
    command("check", _check, "ask the published tree now and print what it wants; install nothing")
    show = command("show", _show, "print what runs, what is at work and how the last one ended")
    show.add_argument("-o", "--output", choices=["text", "json"], default="text")
    install = command("install", _install, "converge now instead of at the next poll")
    install.add_argument(
        "--stop-before",
        choices=STOPS,
        help="stop there and wait for `commit` or `rollback`; a rootfs waits in its trial boot",
    )
    command("commit", _commit, "let the deployment that waits for a decision go on")
    command("rollback", _rollback, "undo the deployment that waits for a decision")
    return parser


def _complain(message: str, code: ExitCode) -> ExitCode:
    sys.stderr.write(f"fleetcd-agent: {message}\n")
    return code


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _daemon(settings: Settings, _options: argparse.Namespace) -> int:
    return app.daemon(settings)


def _check(settings: Settings, _options: argparse.Namespace) -> int:
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


def _install(settings: Settings, options: argparse.Namespace) -> int:
    with locked(_lock(settings)):
        opened = app.journal(settings)
        before = opened.last_outcome()
        stop = STOPS[options.stop_before] if options.stop_before else None
        done = app.agent(settings, opened).poll(stop_before=stop)
        if done.trouble:
            return _complain(done.trouble, ExitCode.UNAVAILABLE)
        return _ended(opened, new=opened.last_outcome() != before)


def _commit(settings: Settings, _options: argparse.Namespace) -> int:
    from device_agent.driver import Decision

    with locked(_lock(settings)):
        opened = app.journal(settings)
        app.agent(settings, opened).decide(Decision.GO_ON)
        return _ended(opened, new=True)


def _rollback(settings: Settings, _options: argparse.Namespace) -> int:
    from device_agent.driver import Decision

    with locked(_lock(settings)):
        opened = app.journal(settings)
        app.agent(settings, opened).decide(Decision.ROLL_BACK)
        _say("rolled back")
        return ExitCode.DONE


def _lock(settings: Settings) -> Path:
    settings.device.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    return settings.device.state / "agent.lock"


def _ended(opened: Journal, *, new: bool) -> ExitCode:
    """Say how the deployment stands, if one was at work in this call."""
    record, outcome = opened.record(), opened.last_outcome()
    if record:
        _say(f"set {record.set} waits before {record.state}: {record.waiting or 'interrupted'}")
        return ExitCode.WAITING
    if not new or outcome is None:
        _say("nothing to do")
        return ExitCode.DONE
    _say(f"set {outcome.set}: {outcome.outcome}{f': {outcome.message}' if outcome.message else ''}")
    return ExitCode.FAILED if outcome.outcome is Outcome.FAILED else ExitCode.DONE


def _show(settings: Settings, options: argparse.Namespace) -> int:
    settings.device.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    opened = Journal(settings.journal, id=secrets.token_hex(16))  # no lock: a damaged one stays
    installed, record = opened.installed(), opened.record()
    boot, outcome = app.bootloader(settings).facts(), opened.last_outcome()
    shown = {
        "name": settings.device.name,
        "running": to_json(installed.running) if installed else None,
        "slot": {"running": boot.running, "primary": boot.primary, "trial": boot.trial},
        "deployment": _deployment(opened),
        "lastOutcome": to_json(outcome) if outcome else None,
        "failed": opened.failed(),
        "unreported": opened.pending(),
        "fleet": opened.recall("fleet") or None,
        "timestampVersion": int(opened.recall("timestamp") or 0),
        "staleSince": opened.recall("stale") or None,
    }
    if options.output == "json":
        _say(json.dumps(shown, indent=2, sort_keys=True))
        return ExitCode.DONE
    _say(f"{settings.device.name}, fleet {shown['fleet'] or 'none'}")
    _say(f"runs: {installed.running.content if installed else 'nothing that fleetcd installed'}")
    if boot.running:
        trial = f", {boot.trial} on trial" if boot.trial else ""
        _say(f"slot: {boot.running} (primary {boot.primary}{trial})")
    if record:
        _say(f"at work: {record.content}: {record.state} ({record.waiting or 'in progress'})")
    if outcome:
        _say(f"last: set {outcome.set} {outcome.outcome} {outcome.message or ''}".rstrip())
    stale = f", not refreshed since {shown['staleSince']}" if shown["staleSince"] else ""
    _say(f"published tree: timestamp {shown['timestampVersion']}{stale}")
    return ExitCode.DONE


def _deployment(opened: Journal) -> object:
    record = opened.record()
    if record is None:
        return None
    return {
        "set": record.set,
        "state": record.state,
        "rollout": record.rollout,
        "attempt": record.attempt,
        "waiting": record.waiting,
        "problem": to_json(record.problem) if record.problem else None,
    }
