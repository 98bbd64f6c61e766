"""The commands for an update by hand, as `fleetcd-agent` offers them (docs/standalone.md)."""

import argparse
import secrets
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from device_agent import app_by_hand, durable
from device_agent.app_device import journal
from device_agent.app_installing import bootstrap
from device_agent.core.standalone import STOPS, Ending, Step
from device_agent.exit_codes import ByHand, ExitCode
from device_agent.journal import Journal
from device_agent.lock import locked
from device_agent.progress import ProgressLine, progress_line
from device_agent.settings import Local, load_local

if TYPE_CHECKING:
    from device_agent.standalone import Standalone

Command = Callable[["Standalone", Collection[Step]], Ending]

CODES = {
    Ending.DONE: ByHand.DONE,
    Ending.FAILED: ByHand.FAILED,
    Ending.NONE_IN_PROGRESS: ByHand.NONE_IN_PROGRESS,
    Ending.REBOOT: ByHand.DONE,
}


def say(text: str) -> None:
    """Say one line, at once: scripts read along."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def add_stop_before(parser: argparse.ArgumentParser, *more: str) -> None:
    """Let `parser` know where one may stop; `more` are names of a fleet's deployment."""
    where = ", ".join(STOPS)
    fleet = f"; without an artifact, once, one of {', '.join(more)}" if more else ""
    parser.add_argument(
        "--stop-before",
        action="append",
        default=[],
        choices=(*STOPS, *more),
        metavar="STATE",
        help=f"stop before STATE, to go on with `resume`; repeatable: {where}{fleet}",
    )


def add_reboot_exit_code(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reboot-exit-code",
        action="store_true",
        help="exit with 4 when a payload asks for a reboot, which stays yours to do",
    )


def install(options: argparse.Namespace) -> int:
    """Install the artifact that a person names."""
    from device_agent.standalone_source import Watched

    with _device(options) as (settings, opened):
        bootstrap(settings, opened)
        incoming = app_by_hand.incoming(settings, options.artifact)
        line = progress_line(sys.stderr, time.monotonic)
        if line is None:
            commands = app_by_hand.standalone(settings, opened, say)
        else:
            incoming = Watched(incoming, line)
            commands = app_by_hand.standalone(settings, opened, partial(_say_below, line))
        return _code(commands.install(incoming, _stops(options)), options)


def resume(options: argparse.Namespace) -> int:
    """Go on with the update by hand."""
    with _device(options) as (settings, opened):
        return _code(app_by_hand.standalone(settings, opened, say).resume(_stops(options)), options)


def decide(
    options: argparse.Namespace,
    by_hand: Command,
    of_fleet: Callable[[Journal], int],
) -> int:
    """Decide about the update by hand, or else about the fleet's deployment that asks."""
    with _device(options) as (settings, opened):
        if opened.standalone() is None and opened.record() is not None:
            return of_fleet(opened)
        ending = by_hand(app_by_hand.standalone(settings, opened, say), _stops(options))
        return CODES[ending]


def show_artifact(options: argparse.Namespace) -> int:
    """Print the name of the artifact that is installed."""
    say(_look(options).provides().get("artifact_name") or "unknown")
    return ExitCode.DONE


def show_provides(options: argparse.Namespace) -> int:
    """Print what the installed artifacts provide."""
    for key, value in sorted(_look(options).provides().items()):
        say(f"{key}={value}")
    return ExitCode.DONE


@contextmanager
def _device(options: argparse.Namespace) -> Iterator[tuple[Local, Journal]]:
    """Hold the device's lock. Raises Busy, Misconfigured, JournalUnavailable."""
    settings = load_local(options.config)
    durable.make_directory(settings.device.state)
    with locked(settings.device.state / "agent.lock"):
        yield settings, journal(settings)


def _look(options: argparse.Namespace) -> Journal:
    settings = load_local(options.config)
    durable.make_directory(settings.device.state)
    return Journal(settings.journal, id=secrets.token_hex(16))  # no lock: whoever looks, waits not


def _say_below(line: ProgressLine, text: str) -> None:
    line.end()
    say(text)


def _stops(options: argparse.Namespace) -> tuple[Step, ...]:
    return tuple(STOPS[name] for name in options.stop_before)


def _code(ending: Ending, options: argparse.Namespace) -> ByHand:
    if ending is Ending.REBOOT and options.reboot_exit_code:
        return ByHand.REBOOT_REQUIRED
    return CODES[ending]
