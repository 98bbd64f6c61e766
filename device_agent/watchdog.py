"""The hardware watchdog, for devices on which no systemd keeps it (docs/integration/watchdog.md).

Who opens it has to ping it for ever, or the machine restarts: then the bootloader counts a try, and
a trial that hangs falls back. Standard library only: the resident loop holds it.
"""

import fcntl
import logging
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from device_agent.errors import InstallFailed
from device_agent.exit_codes import ExitCode

if TYPE_CHECKING:
    from device_agent.ports import BootFacts

SHORTEST = 30  # seconds: the loop is silent for up to 15 while it asks the tree

_SET_TIMEOUT = 0xC0045706  # WDIOC_SETTIMEOUT of linux/watchdog.h: x86, ARM and RISC-V
_PING, _MAGIC_CLOSE = b"\0", b"V"

Ioctl = Callable[[int, int, bytes], bytes]

log = logging.getLogger(__name__)


class Watchdog(Protocol):
    """A timer that runs already, and restarts the machine unless it is pinged in time.

    All raise OSError.
    """

    def set_timeout(self, seconds: int) -> int:
        """Return the seconds that the hardware took; it may not be able to take others."""
        ...

    def ping(self) -> None: ...

    def stop(self) -> None:
        """Let it end with us. A kernel that is built to keep it (NOWAYOUT) lets it run on."""
        ...

    def close(self) -> None:
        """Let go of it. Unless it was stopped before, it runs on. Again: no effect."""
        ...


class KernelWatchdog:
    """Linux's /dev/watchdog. Opening it starts it; one process at a time may have it open."""

    def __init__(self, path: Path, ioctl: Ioctl = fcntl.ioctl) -> None:
        """Raises OSError: there is none, or somebody has it (EBUSY), as systemd may."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._ioctl, self._open = ioctl, True

    def set_timeout(self, seconds: int) -> int:
        asked = struct.pack("i", seconds)
        taken: int = struct.unpack("i", self._ioctl(self._descriptor, _SET_TIMEOUT, asked))[0]
        return taken

    def ping(self) -> None:
        os.write(self._descriptor, _PING)

    def stop(self) -> None:
        os.write(self._descriptor, _MAGIC_CLOSE)

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)


class Guard:
    """The daemon's side: pings, and in the end a decision. Without a watchdog it does nothing."""

    def __init__(self, watchdog: Watchdog | None) -> None:
        self._watchdog, self._failing = watchdog, False

    def ping(self) -> None:
        """Tell the watchdog that the loop turns. A ping that fails is logged, once in a row."""
        if self._watchdog is None:
            return
        try:
            self._watchdog.ping()
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.error("the watchdog takes no ping: %s", error.strerror)
            self._failing = True

    def forget(self) -> None:
        """In a forked child: only the daemon has it open, so that its successor can open it."""
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None

    def stand_down(self, ended: int, facts: Callable[[], "BootFacts"]) -> None:
        """The loop ended in order, with status `ended`: stop the watchdog, or let it run on."""
        if self._watchdog is None or runs_on(ended, _known(facts)):
            return
        try:
            self._watchdog.stop()
        except OSError as error:
            log.error("the watchdog cannot be stopped: %s", error.strerror)


def runs_on(ended: int, facts: "BootFacts | None") -> bool:
    """Decide whether the watchdog has to run on without us; `facts` None: nobody knows them. Pure.

    Before a reboot it does, for a shutdown can hang. While a trial waits or runs it does: with
    nobody to commit it, the device has to fall back. On a settled device, somebody has stopped us.
    """
    if ended == ExitCode.REBOOT or facts is None:
        return True
    return facts.trial is not None or facts.running != facts.primary


def _known(facts: Callable[[], "BootFacts"]) -> "BootFacts | None":
    try:
        return facts()
    except (InstallFailed, OSError) as error:
        log.error("the watchdog runs on, for the bootloader cannot be asked: %s", error)
        return None


@contextmanager
def guarding(
    path: Path | None, seconds: int, start: Callable[[Path], Watchdog] = KernelWatchdog
) -> Iterator[Guard]:
    """Keep the watchdog at `path` (None: there is none) and have it restart after `seconds`.

    Whoever leaves without stand_down(), by an exception above all, leaves it running. One that
    cannot be used is logged and not used: a device without it still updates.
    """
    watchdog = _started(path, seconds, start) if path else None
    guard = Guard(watchdog)
    try:
        yield guard
    finally:
        guard.forget()


def _started(path: Path, seconds: int, start: Callable[[Path], Watchdog]) -> Watchdog | None:
    try:
        watchdog = start(path)
    except OSError as error:
        log.error("boot.watchdog: %s: %s; nothing restarts a device that hangs", path, error)
        return None
    try:
        taken = watchdog.set_timeout(seconds)
        if taken >= SHORTEST:
            watchdog.ping()
            return watchdog
        why = f"restarts after {taken} seconds, {SHORTEST} are needed"
    except OSError as error:
        why = f"cannot be set to {seconds} seconds: {error.strerror}"
    log.error("boot.watchdog: %s: %s; nothing restarts a device that hangs", path, why)
    with suppress(OSError):  # said already
        watchdog.stop()
    watchdog.close()
    return None
