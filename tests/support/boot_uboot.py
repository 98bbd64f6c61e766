"""U-Boot and its boot scripts, played on the bytes that the real fw_setenv writes.

Formats and decisions are written down here a second time on purpose: `docs/integration/uboot/
boot.cmd` in the methods of Scripts, U-Boot's environment format in the functions.
"""

import os
import shutil
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

from device_agent.boot.environment_bootloader import EnvironmentBootloader
from device_agent.boot.mender_scheme import MenderScheme
from device_agent.boot.scheme import FleetcdScheme, Scheme
from device_agent.boot.uboot import UBootVariables
from device_agent.ports import Bootloader
from tests.support.boot_board import Board, put_back, take, torn

SIZE = 0x1000  # bytes of one environment
PLACES = (0, 0x4000)  # where they begin on the disk
MENDER = {"a": 2, "b": 3}

Words = dict[str, str]


def exported(words: Words, flag: bytes = b"", size: int = SIZE) -> bytes:
    """Return an environment as `env export -c` or saveenv writes it."""
    text = b"".join(f"{name}={value}\0".encode() for name, value in sorted(words.items()))
    body = text.ljust(size - 4 - len(flag), b"\0")
    return struct.pack("<I", zlib.crc32(body)) + flag + body


def imported(stored: bytes, flag: int = 0, size: int = SIZE) -> Words | None:
    """Return the variables of an environment with `flag` flag bytes, None for a wrong checksum."""
    body = stored[4 + flag : size]
    if struct.unpack("<I", stored[:4])[0] != zlib.crc32(body):
        return None
    pairs = (entry.partition("=") for entry in body.split(b"\0\0")[0].decode().split("\0"))
    return {name: value for name, _, value in pairs}


class Recorder:
    """A fw_setenv in front of the real one, which keeps the disk as it was before each store."""

    def __init__(self, directory: Path) -> None:
        self._kept = directory / "kept"
        self._kept.mkdir()
        self._disk = directory / "disk"
        real = shutil.which("fw_setenv")
        assert real, "install libubootenv-tool"
        tools = directory / "bin"
        tools.mkdir()
        (tools / "fw_setenv").write_text(
            f'#!/bin/sh\nset -e\ncp "{self._disk}" "{self._kept}/$(ls "{self._kept}" | wc -l)"\n'
            f'exec {real} "$@"\n'
        )
        (tools / "fw_setenv").chmod(0o755)
        self.environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}

    def states(self, act: Callable[[], object]) -> list[bytes]:
        """Do `act`; return the disk before, between and after the stores."""
        act()
        kept = sorted(self._kept.iterdir(), key=lambda path: int(path.name))
        states = [path.read_bytes() for path in kept]
        for path in kept:
            path.unlink()
        return [*states, self._disk.read_bytes()]


class UBoot(ABC):
    """A board that U-Boot starts; subclasses say how it stores its variables and what it does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.disk = directory / "disk"
        self.disk.write_bytes(bytes(0x8000))
        self.configs = self.configure()
        self._board, self._recorder = Board(directory), Recorder(directory)
        self.unloadable: set[str] = set()
        self.power_cycle()

    @abstractmethod
    def configure(self) -> list[Path]:
        """Write the fw_env.config files, and return them."""

    @abstractmethod
    def boot(self) -> str:
        """Return the slot whose kernel was loaded."""

    def scheme(self) -> Scheme:
        return FleetcdScheme()

    @property
    def variables(self) -> UBootVariables:
        return UBootVariables(self.configs, {"PATH": os.environ["PATH"]})

    @property
    def bootloader(self) -> Bootloader:
        return self._adapter({"PATH": os.environ["PATH"]})

    def power_cycle(self) -> str:
        return self._board.start(self.boot())

    def cuts(self, act: Callable[[Bootloader], object]) -> Iterator[None]:
        before = take(self.directory)
        disks = self._recorder.states(lambda: act(self._adapter(self._recorder.environment)))
        for state in torn([before | {"disk": disk} for disk in disks]):
            put_back(self.directory, state)
            yield

    def damage(self, copy: int) -> None:
        """Let one byte of a copy rot."""
        at = PLACES[copy] + 100
        self._write_at(at, bytes([self.disk.read_bytes()[at] ^ 0x40]))

    def config(self, name: str, *places: int) -> Path:
        path = self.directory / name
        path.write_text("".join(f"{self.disk} {place:#x} {SIZE:#x}\n" for place in places))
        return path

    def _adapter(self, environment: dict[str, str]) -> Bootloader:
        variables = UBootVariables(self.configs, environment)
        return EnvironmentBootloader(
            variables, self.scheme(), self._board.running, self._board.boot_id
        )

    def _stored(self, copy: int) -> bytes:
        return self.disk.read_bytes()[PLACES[copy] : PLACES[copy] + SIZE]

    def _write_at(self, place: int, data: bytes) -> None:
        with self.disk.open("r+b") as disk:
            disk.seek(place)
            disk.write(data)

    def _first_loadable(self, *slots: str) -> str:
        return next(slot for slot in slots if slot not in self.unloadable)


class TwoCopies(UBoot):
    """boot.cmd with two independent environments on a raw partition."""

    def configure(self) -> list[Path]:
        return [self.config(f"fw_env.{copy}.config", PLACES[copy]) for copy in (0, 1)]

    def boot(self) -> str:
        copies = [imported(self._stored(copy)) for copy in (0, 1)]
        sequences = [int(words.get("fleetcd_seq", "0"), 16) if words else -1 for words in copies]
        newest = 1 if sequences[1] > sequences[0] else 0
        return self._start(copies[newest] or {}, oldest=1 - newest)

    def _start(self, words: Words, *, oldest: int) -> str:
        primary = words.get("fleetcd_primary")
        if primary is None:
            found = self._first_loadable("a", "b")
            self._save({"fleetcd_primary": found, "fleetcd_trial": "none", "fleetcd_left": "0"}, 0)
            return found
        other = "b" if primary == "a" else "a"
        left = words.get("fleetcd_left", "")
        if words.get("fleetcd_trial") == other and left in set("123456789"):
            self._save(words | {"fleetcd_left": str(int(left) - 1)}, oldest)
            return self._first_loadable(other, primary)
        return self._first_loadable(primary, other)

    def _save(self, words: Words, oldest: int) -> None:
        sequence = f"{int(words.get('fleetcd_seq', '0'), 16) + 1:x}"
        intact = any(imported(self._stored(copy)) for copy in (0, 1))
        for copy in (oldest,) if intact else (oldest, 1 - oldest):
            self._write_at(PLACES[copy], exported(words | {"fleetcd_seq": sequence}))


class Pair(TwoCopies):
    """boot.cmd with U-Boot's own redundant environment and saveenv."""

    def configure(self) -> list[Path]:
        return [self.config("fw_env.config", *PLACES)]

    def boot(self) -> str:
        return self._start(self.load() or {}, oldest=0)

    def load(self) -> Words | None:
        """Return the newer half; its flag is one more than the other's, and wraps around."""
        halves = [imported(self._stored(copy), flag=1) for copy in (0, 1)]
        return halves[self._newer(halves)]

    def _save(self, words: Words, oldest: int) -> None:
        del oldest  # U-Boot knows
        for _ in range(1 if words.get("fleetcd_trial", "none") != "none" else 2):
            self.saveenv(words)

    def saveenv(self, words: Words) -> None:
        halves = [imported(self._stored(copy), flag=1) for copy in (0, 1)]
        newer = self._newer(halves)
        flag = bytes([(self._stored(newer)[4] + 1) & 0xFF])
        self._write_at(PLACES[1 - newer], exported(words, flag))

    def _newer(self, halves: list[Words | None]) -> int:
        if None in halves:
            return 0 if halves[1] is None else 1
        flags = [self._stored(copy)[4] for copy in (0, 1)]
        return 1 if (flags[1] - flags[0]) & 0xFF == 1 else 0


class Mender(Pair):
    """Mender's boot logic on U-Boot: bootcount, bootlimit, altbootcmd, all in saveenv."""

    DEFAULTS: ClassVar = {
        "mender_boot_part": "2",
        "mender_boot_part_hex": "2",
        "upgrade_available": "0",
        "bootcount": "0",
        "bootlimit": "1",
        "mender_check_saveenv_canary": "1",
        "bootcmd": "run mender_setup; run the_rest",
    }

    def scheme(self) -> Scheme:
        return MenderScheme(MENDER)

    def boot(self) -> str:
        words = self.load()
        if words is None:
            words = self.DEFAULTS | {"mender_saveenv_canary": "1"}
            self._save(words, 0)
        if words["upgrade_available"] == "1":
            words["bootcount"] = str(int(words["bootcount"]) + 1)
            self.saveenv(words)
            if int(words["bootcount"]) > int(words["bootlimit"]) > 0:
                other = "3" if words["mender_boot_part"] == "2" else "2"
                words |= {"mender_boot_part": other, "mender_boot_part_hex": other}
                self.saveenv(words | {"upgrade_available": "0"})
        return "a" if words["mender_boot_part"] == "2" else "b"
