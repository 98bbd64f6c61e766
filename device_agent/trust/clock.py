"""What time it is, for judging expiry: the wall clock, unless signed times contradict it. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

AHEAD: Final = timedelta(days=365)  # DESIGN section 7
BEHIND: Final = timedelta(minutes=5)  # two honest clocks differ by that much


@dataclass(frozen=True, slots=True)
class Reading:
    """`now` to judge by; `trusted` False: the wall clock is off and should be reported."""

    now: datetime
    trusted: bool


def judge(wall: datetime, issued: datetime | None) -> Reading:
    """Return the time to judge by, given the newest signed `issued` (None: nothing was seen yet).

    A clock behind `issued` is wrong, whatever it says; one more than a year beyond is taken for
    wrong, because a device that believed it would call everything expired until somebody came.
    """
    if issued is None:
        return Reading(wall, trusted=True)
    if wall < issued:
        return Reading(issued, trusted=issued - wall <= BEHIND)
    if wall > issued + AHEAD:
        return Reading(issued, trusted=False)
    return Reading(wall, trusted=True)
