"""When the daemon looks again. Pure: randomness is an argument."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

MAX_BACKOFF = 3600.0  # seconds
ROLLING_HEARTBEAT = 300.0  # seconds, while the device's fleet rolls out
ARRIVAL_INTERVAL = 60.0  # seconds between polls of a device that no fleet has yet: a person waits
ARRIVAL = 3600.0  # seconds after the daemon's start; who is in no fleet then may stay so for long

Uniform = Callable[[float, float], float]  # random.uniform


@dataclass(frozen=True, slots=True)
class Polling:
    """`interval` seconds unless the manifest hints otherwise, ± `jitter` (a fraction)."""

    interval: float = 300.0
    jitter: float = 0.2
    initial_delay: float = 30.0  # at most, after the start of an idle device


def delay(
    polling: Polling,
    *,
    hint: float | None,
    unassigned_for: float | None,
    failures: int,
    uniform: Uniform,
) -> float:
    """Return the seconds until the next poll.

    `unassigned_for` is how long the daemon has run while the device is in no fleet, None when it
    is in one: at first such a device asks more often, so that who accepts it need not wait.

    After failures the wait grows: full jitter between 0 and interval * 2**failures, so that a
    fleet that lost its server does not come back as one.
    """
    interval = hint or polling.interval
    if unassigned_for is not None and unassigned_for < ARRIVAL:
        interval = min(interval, ARRIVAL_INTERVAL)
    if failures:
        ceiling = min(interval * 2.0 ** min(failures, 10), max(MAX_BACKOFF, interval))
        return max(uniform(0.0, ceiling), min(interval, 1.0))
    return interval * uniform(1.0 - polling.jitter, 1.0 + polling.jitter)


def heartbeat_due(last: datetime | None, now: datetime, interval: float) -> bool:
    """Return whether a heartbeat is due. A clock that went back makes it due, too."""
    if last is None or now < last:
        return True
    return (now - last).total_seconds() >= interval
