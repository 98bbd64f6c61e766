"""How decisions are put into words. Pure. Nothing counts down: time alone says nothing new."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from schemas.wire.status import StageCounts

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def percent(fraction: Fraction) -> str:
    """Return `fraction` (of 1) as `98 %` or `99.5 %`."""
    return f"{float(fraction * 100):g} %"


def moment(time: datetime) -> str:
    """Return `time` as `2026-11-24 14:00 UTC`, with seconds only when there are any."""
    utc = time.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S} UTC" if utc.second else f"{utc:%Y-%m-%d %H:%M} UTC"


def span(time: timedelta) -> str:
    """Return `time` as people write it in a policy: `14d`, `1h30m`."""
    rest, parts = int(time.total_seconds()), ""
    for seconds, unit in _UNITS:
        amount, rest = divmod(rest, seconds)
        parts += f"{amount}{unit}" if amount else ""
    return parts or "0s"


def devices(number: int) -> str:
    return "1 device" if number == 1 else f"{number} devices"


def succeeded(counts: StageCounts, needed: Fraction) -> str:
    """Return `41 of 42 succeeded, 98 % needed`."""
    return f"{counts.ok} of {counts.finished} succeeded, {percent(needed)} needed"


def failed(counts: StageCounts) -> str:
    """Return `3 of 4 failed: 2 healthcheck, 1 reboot`, most frequent first."""
    classes: Mapping[str, int] = {**counts.failures, "overdue": counts.overdue}
    named = sorted(((-n, name) for name, n in classes.items() if n > 0))
    text = ", ".join(f"{-n} {name}" for n, name in named)
    number = counts.failed + counts.overdue
    return f"{number} of {counts.finished} failed" + (f": {text}" if text else "")
