"""What was refused here, and how often a set was tried. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from schemas.wire.status import Refused, Rollout

MAX_REFUSED = 50
MAX_ATTEMPTS = 200


def open_entry(ledger: tuple[Refused, ...], set: str) -> Refused | None:
    """Return why `set` is not tried now, or None."""
    return next((entry for entry in ledger if entry.set == set and entry.closed is None), None)


def refuse(
    ledger: tuple[Refused, ...], rollout: Rollout, reason: str, now: datetime
) -> tuple[Refused, ...]:
    """Return the ledger with the rollout's set refused. The oldest entries fall out."""
    entry = Refused(
        set=rollout.set,
        release=str(rollout.content),
        rollout=rollout.id,
        attempt=rollout.attempt,
        reason=reason,
        at=now,
    )
    return (*ledger, entry)[-MAX_REFUSED:]


def close(ledger: tuple[Refused, ...], now: datetime) -> tuple[Refused, ...]:
    """Return the ledger without open entries: Git stopped asking for what they refuse."""
    return tuple(entry if entry.closed else replace(entry, closed=now) for entry in ledger)


def next_attempt(attempts: Mapping[str, int], set: str) -> int:
    """Return the attempt of a new rollout of `set`: one more than any before.

    It rises whatever became of the attempt before, because fleet, set and attempt name the rollout:
    a name that came back would bring its old counts along, and devices would remember old failures.
    """
    forgotten = max(attempts.values()) if len(attempts) >= MAX_ATTEMPTS else 0
    return attempts.get(set, forgotten) + 1


def remember(
    attempts: Mapping[str, int], set: str, attempt: int, in_use: Collection[str]
) -> Mapping[str, int]:
    """Return the attempts with that of `set`, bounded: what is not in use falls out, and of that
    what was tried least, so that the highest stays (`next_attempt`)."""
    known = {**attempts, set: attempt}
    ranked = sorted(known, key=lambda name: (name == set or name in in_use, known[name], name))
    dropped = frozenset(ranked[: max(0, len(known) - MAX_ATTEMPTS)])
    return {name: number for name, number in known.items() if name not in dropped}
