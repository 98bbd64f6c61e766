"""What a bench returns: figures with every repeat, and what they are compared with."""

import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Protocol


class Scale(StrEnum):
    """FULL measures. TINY only shows, in a moment, that a bench still runs."""

    FULL = "full"
    TINY = "tiny"


@dataclass(frozen=True, slots=True)
class Peer:
    """The peer or physical limit that was measured beside the figure, in the figure's unit."""

    what: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity; `values` has one number for each repeat, never none."""

    name: str
    unit: str
    values: tuple[float, ...]
    peer: Peer | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def ratio(self) -> float | None:
        """Return the median over the peer's median, None without a peer (or one of zero)."""
        if self.peer is None or not (limit := statistics.median(self.peer.values)):
            return None
        return self.median / limit


class Bench(Protocol):
    """A bench works below `directory`, which is empty, and leaves no process behind."""

    def __call__(self, scale: Scale, directory: Path) -> tuple[Figure, ...]: ...


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes, by the wall clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextmanager
def bounded(limit: float) -> Iterator[None]:
    """Raise TimeoutError in the block after `limit` seconds. In the main thread only."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the bench took longer than {limit:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
