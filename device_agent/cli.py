"""`fleetcd-agent`: the daemon, and what a person on the device may ask for."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent import app, cli_standalone, cli_status
from device_agent.core.states import State
from device_agent.errors import AgentError, TransientError, UpdateRejected
from device_agent.exit_codes import ByHand, ExitCode
from device_agent.journal import Journal
from device_agent.lock import Busy, locked
from device_agent.settings import DEFAULT_PATH, Misconfigured, Settings, load
from device_agent.status import INHIBITED
from schemas.refusal import Refusal
from schemas.wire.report import Outcome

if TYPE_CHECKING:
    from device_agent.driver import Decision

STOPS = {"install": State.INSTALL, "reboot": State.REBOOT, "commit": State.COMMIT}
EXIT_CODES = """exit codes:
  0   done: converged, or nothing to do
  1   the deployment failed and was undone
  2   the command line or the configuration is wrong
  3   a deployment waits: for the published tree, a hold, or your decision
  69  the network or the journal's disk is away; try again later
  75  the machine has to restart now (with [machine] reboot = "exit")
  76  another fleetcd-agent works on this device

of an update by hand (install FILE|URL|-, commit, rollback, resume):
  0   done
  1   it failed, or this may not be done now
  2   no update is in progress; also: the command line or the configuration is wrong
  4   done, and a reboot is required (with --reboot-exit-code)
  76  another fleetcd-agent works on this device"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    level = logging.INFO if options.command == "daemon" or options.verbose else logging.WARNING
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
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

    def by_hand(
        name: str, run: Callable[[argparse.Namespace], int], help: str
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help, description=help)
        one.add_argument("--config", type=Path, default=DEFAULT_PATH, metavar="FILE")
        one.set_defaults(run=run)
        return one

    def command(
        name: str, run: Callable[[Settings, argparse.Namespace], int], help: str
    ) -> argparse.ArgumentParser:
        return by_hand(name, lambda options: run(load(options.config), options), help)

    command("daemon", _daemon, "poll, converge and report until told to end")
    command("check", _check, "ask the published tree now and print what it wants; install nothing")
    show = by_hand(
        "show", cli_status.show, "print what runs, what is at work and how the last one ended"
    )
    show.add_argument("-o", "--output", choices=["text", "json"], default="text")
    by_hand("status", cli_status.status, "print as JSON what the daemon tells local applications")
    install = by_hand("install", _install, "install an artifact by hand; without one, converge now")
    install.add_argument(
        "artifact",
        nargs="?",
        metavar="FILE|URL|-",
        help="a .mender artifact; - reads standard input",
    )
    cli_standalone.add_reboot_exit_code(install)
    cli_standalone.add_stop_before(install, *STOPS)
    install.set_defaults(complain=install.error)
    decisions = {
        "commit": ("keep what was installed by hand, or let a waiting deployment go on", _commit),
        "rollback": ("undo what was installed by hand, or a waiting deployment", _rollback),
    }
    for name, (help, run) in decisions.items():
        decision = by_hand(name, run, help)
        decision.set_defaults(complain=decision.error)
        cli_standalone.add_stop_before(decision)
    resume = by_hand("resume", cli_standalone.resume, "go on with the update by hand")
    cli_standalone.add_reboot_exit_code(resume)
    cli_standalone.add_stop_before(resume)
    by_hand("show-artifact", cli_standalone.show_artifact, "print the installed artifact's name")
    by_hand("show-provides", cli_standalone.show_provides, "print what the artifacts provide")
    return parser


def _complain(message: str, code: int) -> int:
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


def _install(options: argparse.Namespace) -> int:
    """With an artifact, by hand; without one, what the fleet wants."""
    of_fleet = [name for name in options.stop_before if name in STOPS]
    if options.artifact is None:
        if (
            len(of_fleet) < len(options.stop_before)
            or len(of_fleet) > 1
            or options.reboot_exit_code
        ):
            options.complain(
                "without an artifact: at most one --stop-before of " + ", ".join(STOPS)
            )
        return _converge(load(options.config), options)
    if of_fleet:
        options.complain(f"--stop-before {of_fleet[0]} is for a fleet's deployment")
    return cli_standalone.install(options)


def _converge(settings: Settings, options: argparse.Namespace) -> int:
    with locked(_lock(settings)):
        opened = app.journal(settings)
        before = opened.last_outcome()
        stop = STOPS[options.stop_before[0]] if options.stop_before else None
        done = app.agent(settings, opened).poll(stop_before=stop)
        if done.trouble:
            return _complain(done.trouble, ExitCode.UNAVAILABLE)
        return _ended(opened, new=opened.last_outcome() != before)


def _commit(options: argparse.Namespace) -> int:
    from device_agent.driver import Decision
    from device_agent.standalone import Standalone

    return cli_standalone.decide(
        options, Standalone.commit, lambda opened: _decide(options, opened, Decision.GO_ON)
    )


def _rollback(options: argparse.Namespace) -> int:
    from device_agent.driver import Decision
    from device_agent.standalone import Standalone

    return cli_standalone.decide(
        options, Standalone.rollback, lambda opened: _decide(options, opened, Decision.ROLL_BACK)
    )


def _decide(options: argparse.Namespace, opened: Journal, decision: "Decision") -> int:
    """Decide about the fleet's deployment, which does not stop again on its way."""
    from device_agent.driver import Decision, NothingToDecide

    if options.stop_before:
        options.complain("a deployment of the fleet is at work: it takes no --stop-before here")
    try:
        app.agent(load(options.config), opened).decide(decision)
    except NothingToDecide:
        _say("No update in progress.")
        why = "a deployment of the fleet is at work, and waits for no decision"
        return _complain(why, ByHand.NONE_IN_PROGRESS)
    if decision is Decision.ROLL_BACK:
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
    if inhibited := opened.recall(INHIBITED):
        _say(f"not begun: {inhibited}")
        return ExitCode.WAITING
    if not new or outcome is None:
        _say("nothing to do")
        return ExitCode.DONE
    _say(f"set {outcome.set}: {outcome.outcome}{f': {outcome.message}' if outcome.message else ''}")
    return ExitCode.FAILED if outcome.outcome is Outcome.FAILED else ExitCode.DONE
