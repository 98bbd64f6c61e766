"""One writer: locks of the kernel on files beside the published tree."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler.errors import LeaseHeld, Unavailable

HOLDER_LIMIT = 256  # bytes of a lease file that are shown
PAUSE = 0.02  # seconds between two tries for the short lock


class Lease:
    """Held for a process's life; the kernel drops it with the process, however it ends."""

    def __init__(self, path: Path, writer: str) -> None:
        self._path, self._writer, self._fd = path, writer, -1

    def take(self) -> None:
        """Become the writer. Again: no effect. Raises LeaseHeld, naming who holds it."""
        if self._fd >= 0:
            return
        fd = _open(self._path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(fd, HOLDER_LIMIT).decode(errors="replace").strip()
            os.close(fd)
            raise LeaseHeld(
                f"{self._path}: {holder or 'another process'} writes this tree;"
                " stop it first, or give this reconciler a tree of its own"
            ) from error
        os.ftruncate(fd, 0)
        os.write(fd, f"{self._writer} (process {os.getpid()})\n".encode())
        self._fd = fd

    def release(self) -> None:
        """Let another take it. Again: no effect."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@contextlib.contextmanager
def short_lock(path: Path, *, timeout: float = 10.0) -> Iterator[None]:
    """Hold the lock on `path` for the block. Raises Unavailable after `timeout` seconds.

    Meant for the moment in which `timestamp.json` is replaced, by the reconciler or by
    `fleetcd refresh-timestamp`.
    """
    fd = _open(path)
    try:
        _wait_for(fd, path, timeout)
        yield
    finally:
        os.close(fd)


def _wait_for(fd: int, path: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise Unavailable(f"{path}: still locked after {timeout:g} s") from error
            time.sleep(PAUSE)
        else:
            return


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
