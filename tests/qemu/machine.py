"""A board in QEMU: power, serial console, restarts. By plain emulation, as it runs everywhere."""

import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.qemu.partitions import Disk

MOST_STARTS = 30  # of one board; more of them are a loop
CONSOLE_LIMIT = 16 * 1024 * 1024  # bytes
TICK = 0.1  # seconds between two looks

_ESCAPES = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1bc|[\r\0]")


def unheard(piece: str) -> None:
    """What a board whose console nobody watches is heard by."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a test attaches to a board: `log` records every write to the disk (blklogwrites), and
    the port `forward[0]` of our loopback leads to the board's port `forward[1]`."""

    log: Path | None = None
    forward: tuple[int, int] | None = None


class BoardError(Exception):
    """The board did not do what was waited for. Ends with what its console said last."""


class Board:
    """One machine with `disk`; what its serial console says is appended to the file `console`.

    A restart ends QEMU (an emulator that restarts inside is slow), and the next look begins it
    again. A context manager: ends with the power off. `hear` gets what the console says, in pieces.
    """

    def __init__(
        self,
        disk: Disk,
        console: Path,
        hear: Callable[[str], object] = unheard,
        wiring: Wiring | None = None,
    ) -> None:
        self.disk, self.console = disk, console
        self._wiring = wiring or Wiring()
        self._hear, self._heard = hear, 0
        self.starts = 0
        self._seen = 0  # characters of the console that a wait has used up
        self._process: subprocess.Popen[bytes] | None = None
        console.touch()

    def power_on(self) -> None:
        """Start the board; what was on the console before is not waited for any more."""
        self._seen = len(self._text())
        self._start()

    def power_off(self) -> None:
        """Cut the power: SIGKILL. Again: no effect."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def wait_for(self, pattern: str, seconds: float) -> re.Match[str]:
        """Return the first match on the console after what the last wait matched."""
        found: list[re.Match[str]] = []

        def said() -> bool:
            match = re.search(pattern, self._text()[self._seen :])
            found.extend([match] if match else [])
            return bool(match)

        self.wait_until(said, seconds, f"the console says {pattern!r}")
        self._seen += found[0].end()
        return found[0]

    def wait_until(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        """Return when `true()`, with restarts until then; else raise BoardError."""
        deadline = time.monotonic() + seconds
        while not true():
            self.look()
            if time.monotonic() > deadline:
                raise self._error(f"not within {seconds:.0f} s: {what}")
            time.sleep(TICK)

    def look(self) -> None:
        """Hear what the console said, and start a board again that went down for a restart."""
        self._listen()
        self._go_on()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.power_off()

    def _go_on(self) -> None:
        """Start again after a restart. Raises BoardError when QEMU failed."""
        if self._process is None or self._process.poll() is None:
            return
        _, said = self._process.communicate()
        if self._process.returncode:
            raise self._error(f"QEMU failed: {said.decode('utf-8', 'replace')[-1000:]}")
        self._start()

    def _start(self) -> None:
        if self.starts == MOST_STARTS:
            raise self._error(f"started {MOST_STARTS} times")
        self.starts += 1
        # setpriv: whatever becomes of the test, the machine ends with it.
        argv = ["setpriv", "--pdeathsig", "KILL", *self._arguments()]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def _listen(self) -> None:
        text = self._text()
        self._hear(text[self._heard :])
        self._heard = len(text)

    def _text(self) -> str:
        with self.console.open("rb") as file:
            return _ESCAPES.sub("", file.read(CONSOLE_LIMIT).decode("utf-8", "replace"))

    def _error(self, what: str) -> BoardError:
        return BoardError(f"{what}; the console ends with:\n{self._text()[-3000:]}")

    def _arguments(self) -> tuple[str, ...]:
        forward = self._wiring.forward
        ports = f",hostfwd=tcp:127.0.0.1:{forward[0]}-:{forward[1]}" if forward else ""
        return (
            *self.disk.kind.machine(self.disk),
            *("-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot"),
            *self._drive(),
            *("-device", "nvme,drive=disk,serial=fleetcd"),
            # The board reaches 127.0.0.1 of this machine, and nothing else does, as 10.0.2.2.
            *("-netdev", f"user,id=net{ports}", "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-chardev", f"file,id=console,append=on,path={self.console}"),
            *("-serial", "chardev:console"),
        )

    def _drive(self) -> tuple[str, ...]:
        file, log = self.disk.file, self._wiring.log
        if log is None:
            return ("-drive", f"if=none,id=disk,format=raw,cache=writeback,file={file}")
        return (
            *("-blockdev", f"driver=file,node-name=file,filename={file}"),
            *("-blockdev", f"driver=file,node-name=log,filename={log}"),
            *("-blockdev", "driver=blklogwrites,node-name=disk,file=file,log=log,log-append=on"),
        )
