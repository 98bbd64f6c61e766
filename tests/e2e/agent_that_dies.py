"""`fleetcd-agent`, but it dies where it is told to: `python -m tests.e2e.agent_that_dies daemon …`.

Death comes by SIGKILL, to the daemon and the child that does the work, once for each order.
"""

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn, Protocol

from device_agent import app, cli
from device_agent.core.record import Record
from device_agent.core.states import State
from device_agent.journal import Journal
from device_agent.settings import Settings, load
from schemas.canonical import sha256_hex
from schemas.wire.report import Event

MODULE = "tests.e2e.agent_that_dies"
ORDER, STARTS = "die", "starts"  # files beside the configuration


class Enter(Protocol):
    """`Journal.enter`."""

    def __call__(
        self, journal: Journal, record: Record, events: Iterable[Event] = (), /
    ) -> None: ...


class Moment(StrEnum):
    """When, seen from the transaction that journals the state."""

    BEFORE = "before"
    AFTER = "after"


class Death(StrEnum):
    """What dies: the agent, which its supervisor starts again, or the machine with both."""

    CRASH = "crash"
    POWER_CUT = "power-cut"


@dataclass(frozen=True, slots=True)
class Order:
    """Die when `state` is journaled for the first time from now on."""

    state: State
    moment: Moment
    death: Death

    def give(self, home: Path) -> None:
        (home / ORDER).write_text(f"{self.state} {self.moment} {self.death}")

    @classmethod
    def given(cls, home: Path) -> "Order | None":
        """Return the order that was not carried out yet, if there is one."""
        if not (home / ORDER).exists():
            return None
        state, moment, death = (home / ORDER).read_text().split()
        return cls(State(state), Moment(moment), Death(death))


def obey(order: Order, home: Path) -> NoReturn:
    """Die. The order goes first, so that the next life is a longer one."""
    (home / ORDER).unlink()
    daemon = os.getppid()
    if order.death is Death.POWER_CUT:
        os.killpg(os.getpgid(daemon), signal.SIGKILL)  # the supervisor's group, a session's leader
    else:
        os.kill(daemon, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def mortal(enter: Enter, home: Path) -> Enter:
    """Return `Journal.enter` that carries out orders."""

    def enter_or_die(journal: Journal, record: Record, events: Iterable[Event] = ()) -> None:
        order = Order.given(home)
        due = order if order and order.state is record.state else None
        if due and due.moment is Moment.BEFORE:
            obey(due, home)
        enter(journal, record, events)
        if due:
            obey(due, home)

    return enter_or_die


def note_start(settings: Settings, home: Path) -> None:
    """Append the digest of the slot that runs: nothing else may ever be started."""
    running = app.bootloader(settings).facts().running
    digest = sha256_hex(settings.boot.slots[running].read_bytes())
    with (home / STARTS).open("a") as file:
        file.write(f"{digest}\n")


def started(home: Path) -> list[str]:
    """Return the digest of the running slot at each start of the agent."""
    return (home / STARTS).read_text().split()


def main(arguments: Sequence[str]) -> int:
    config = Path(arguments[arguments.index("--config") + 1])
    note_start(load(config), config.parent)
    Journal.enter = mortal(Journal.enter, config.parent)  # type: ignore[method-assign, assignment]  # the seam
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
