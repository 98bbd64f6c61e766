"""`fleetcd-agent`: the daemon, and what a person on the device may ask for.

What only some commands need is imported by them: an update by hand is to begin at once.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from device_agent import cli_standalone
from device_agent.core.states import State
from device_agent.errors import AgentError
from device_agent.exit_codes import ExitCode
from device_agent.journal import Journal
from device_agent.leaving import leaving_when_asked, was_asked
from device_agent.lock import Busy
from device_agent.settings import DEFAULT_PATH, Misconfigured, load
from schemas.refusal import Refusal

STOPS = {"install": State.INSTALL, "reboot": State.REBOOT, "commit": State.COMMIT}
EXIT_CODES = """exit codes:
  0   done: converged, or nothing to do
  1   the deployment failed and was undone
  2   the command line or the configuration is wrong
  3   a deployment waits: for the published tree, a hold, or your decision
  69  the network or the journal's disk is away; try again later
  75  the machine has to restart now (with [machine] reboot = "exit")
  76  another fleetcd-agent works on this device
  130 interrupted by ^C; 143 by SIGTERM, 129 by a terminal that went away

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
    asked = nullcontext() if options.command == "daemon" else leaving_when_asked()
    try:
        with asked:
            return run(options)
    except SystemExit as leaving:
        _explain(leaving)
        raise
    except Misconfigured as error:
        return _complain(str(error), ExitCode.USAGE)
    except Busy as error:
        return _complain(str(error), ExitCode.LOCKED)
    except (AgentError, Refusal, OSError) as error:
        return _complain(f"{error}{_remedy(error)}", ExitCode.UNAVAILABLE)


def _explain(leaving: SystemExit) -> None:
    """Say what to do next, where that is not plain."""
    if leaving.code == ExitCode.REBOOT:  # the machine's restart, with reboot = "exit"
        cli_standalone.say(
            "the machine has to restart now; the daemon then goes on with the deployment"
        )
    elif was_asked(leaving.code):
        sys.stderr.write("\nfleetcd-agent: interrupted; `fleetcd-agent show` tells what is begun\n")


def _remedy(error: Exception) -> str:
    denied = isinstance(error, PermissionError) or isinstance(error.__cause__, PermissionError)
    return "; run it as root" if denied and os.geteuid() else ""


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
        name: str, run: Callable[[argparse.Namespace], int], help: str
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=help, description=help)
        one.add_argument(
            "--config",
            type=Path,
            default=DEFAULT_PATH,
            metavar="FILE",
            help="the configuration (%(default)s)",
        )
        one.set_defaults(run=run)
        return one

    command("daemon", _daemon, "poll, converge and report until told to end")
    command("check", _check, "ask the published tree now and print what it wants; install nothing")
    show = command("show", _show, "print what runs, what is at work and how the last one ended")
    show.add_argument("-o", "--output", choices=["text", "json"], default="text")
    command("status", _status, "print as JSON what the daemon tells local applications")
    install = command("install", _install, "install an artifact by hand; without one, converge now")
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
        decision = command(name, run, help)
        decision.set_defaults(complain=decision.error)
        cli_standalone.add_stop_before(decision)
    resume = command("resume", cli_standalone.resume, "go on with the update by hand")
    cli_standalone.add_reboot_exit_code(resume)
    cli_standalone.add_stop_before(resume)
    command("show-artifact", cli_standalone.show_artifact, "print the installed artifact's name")
    command("show-provides", cli_standalone.show_provides, "print what the artifacts provide")
    return parser


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"fleetcd-agent: {message}\n")
    return code


def _daemon(options: argparse.Namespace) -> int:
    from device_agent import app

    return app.daemon(load(options.config))


def _check(options: argparse.Namespace) -> int:
    from device_agent import cli_fleet

    return cli_fleet.check(options)


def _show(options: argparse.Namespace) -> int:
    from device_agent import cli_status

    return cli_status.show(options)


def _status(options: argparse.Namespace) -> int:
    from device_agent import cli_status

    return cli_status.status(options)


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
        from device_agent import cli_fleet

        return cli_fleet.converge(options, STOPS[of_fleet[0]] if of_fleet else None)
    if of_fleet:
        options.complain(f"--stop-before {of_fleet[0]} is for a fleet's deployment")
    return cli_standalone.install(options)


def _commit(options: argparse.Namespace) -> int:
    from device_agent.standalone import Standalone

    def of_fleet(opened: Journal) -> int:
        from device_agent import cli_fleet

        return cli_fleet.go_on(options, opened)

    return cli_standalone.decide(options, Standalone.commit, of_fleet)


def _rollback(options: argparse.Namespace) -> int:
    from device_agent.standalone import Standalone

    def of_fleet(opened: Journal) -> int:
        from device_agent import cli_fleet

        return cli_fleet.roll_back(options, opened)

    return cli_standalone.decide(options, Standalone.rollback, of_fleet)
