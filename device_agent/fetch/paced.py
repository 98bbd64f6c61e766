"""Sockets that give up on a peer which is too slow, by accident or on purpose.

A socket timeout bounds the gap between two bytes only; a peer that sends a byte per gap, in the
headers or in the body, holds its reader for hours. Here every read is charged to a deadline and to
a minimum rate, and both hold for headers too.
"""

import io
import socket
from collections.abc import Callable
from dataclasses import dataclass

Monotonic = Callable[[], float]


class TooSlow(TimeoutError):
    """The peer missed the deadline or the minimum rate."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Patience, in seconds; `rate` in bytes per second. `total` None: only the rate bounds it.

    The rate is judged over `window` seconds spent waiting for the peer, so that a consumer who is
    slow itself (a flash write) is not charged for it.
    """

    connect: float = 10.0
    headers: float = 30.0
    stall: float = 15.0
    total: float | None = 60.0
    rate: int = 512
    window: float = 10.0


class Pace:
    """What one connection has left of its patience. begin() with each request."""

    def __init__(self, limits: Limits, monotonic: Monotonic) -> None:
        self._limits, self._monotonic = limits, monotonic
        self._start, self._deadline = 0.0, float("inf")
        self._waited, self._received = 0.0, 0

    def begin(self) -> None:
        """Start the clock: headers first."""
        self._start = self._monotonic()
        total = self._limits.total
        patience = self._limits.headers if total is None else min(self._limits.headers, total)
        self._deadline = self._start + patience
        self._waited, self._received = 0.0, 0

    def headers_are_in(self) -> None:
        """Let the body have the whole of the total."""
        total = self._limits.total
        self._deadline = float("inf") if total is None else self._start + total

    def patience(self) -> float:
        """Return how long the next read may block. Raises TooSlow."""
        left = self._deadline - self._monotonic()
        if left <= 0:
            raise TooSlow("the answer took longer than its deadline")
        return min(left, self._limits.stall)

    def charge(self, received: int, waited: float) -> None:
        """Account for one read. Raises TooSlow."""
        self._received += received
        self._waited += waited
        if self._waited < self._limits.window:
            return
        if self._received < self._limits.rate * self._waited:
            raise TooSlow(f"{self._received} bytes in {self._waited:.1f} s of waiting")
        self._waited, self._received = 0.0, 0

    def time(self) -> float:
        return self._monotonic()


class PacedSocket:
    """The part of a socket that http.client uses, reading at a Pace."""

    def __init__(self, inner: socket.socket, pace: Pace) -> None:
        self._inner, self._pace = inner, pace

    def makefile(self, mode: str) -> io.BufferedReader:
        if mode != "rb":
            raise ValueError(f"answers are read, not opened as {mode!r}")
        raw = self._inner.makefile("rb", buffering=0)
        return io.BufferedReader(_PacedReader(self._inner, raw, self._pace), 64 * 1024)

    def sendall(self, data: bytes) -> None:
        self._inner.sendall(data)

    def close(self) -> None:
        self._inner.close()


class _PacedReader(io.RawIOBase):
    def __init__(self, inner: socket.socket, raw: socket.SocketIO, pace: Pace) -> None:
        self._inner, self._raw, self._pace = inner, raw, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int | None:  # type: ignore[override]  # bytes-like
        self._inner.settimeout(self._pace.patience())
        start = self._pace.time()
        count = self._raw.readinto(buffer)
        self._pace.charge(count or 0, self._pace.time() - start)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
