"""What to do at rest when another slot runs than the primary. Pure.

Two things look like that: a trial that was cancelled and is still to be left, and a primary that
does not start, so that the bootloader took the other slot. A restart tells them apart.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from device_agent.core.component import BootFacts

MOST_REQUESTS = 3  # in one boot, that nobody refuses and nobody heeds

_ASKED = re.compile(r"(\S+) (\S+) ([0-9])")


@dataclass(frozen=True, slots=True)
class Asked:
    """That a restart was asked for in the boot `boot_id`, in which `slot` ran.

    `requests` is how often, without those that are known to have failed.
    """

    boot_id: str
    slot: str
    requests: int

    def __str__(self) -> str:
        """Return it as the journal keeps it; asked() reads it again."""
        return f"{self.boot_id} {self.slot} {self.requests}"


def asked(text: str | None) -> Asked | None:
    """Return what `text` says. What nobody here wrote says nothing."""
    found = _ASKED.fullmatch(text or "")
    return Asked(found[1], found[2], int(found[3])) if found else None


class Move(StrEnum):
    NONE = "none"  # the primary runs
    RESTART = "restart"  # once, to see whether the primary starts
    WAIT = "wait"  # nobody heeds the requests
    ADOPT = "adopt"  # the primary did not start: what runs takes its place


def next_move(boot: BootFacts, before: Asked | None) -> Move:
    """Return what to do; `before` is the last request for a restart, while it is remembered.

    One restart is all it takes, however often the power goes: it ends in another boot, and that
    either runs the primary or proves that it cannot.
    """
    if boot.running == boot.primary:
        return Move.NONE
    if before is None or before.slot != boot.running:
        return Move.RESTART
    if before.boot_id != boot.boot_id:
        return Move.ADOPT
    return Move.RESTART if before.requests < MOST_REQUESTS else Move.WAIT


def request(boot: BootFacts, before: Asked | None) -> Asked:
    """Return what has to be remembered before the machine is asked to restart."""
    again = before is not None and (before.boot_id, before.slot) == (boot.boot_id, boot.running)
    return Asked(boot.boot_id, boot.running, before.requests + 1 if before and again else 1)
