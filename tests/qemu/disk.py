"""A whole disk for an arm64 board with U-Boot, as a file: made without mounts or loop devices.

Partitions (GPT), as boot.cmd expects them: that script on FAT, the boot variables, two slots, data.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.qemu.cache import SOURCE
from tests.qemu.programs import run
from tests.qemu.rootfs import SIZE

SCRIPT = SOURCE / "docs" / "integration" / "uboot" / "boot.cmd"
UBOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
FLASH = 64 * 1024 * 1024  # bytes of the board's second flash, where U-Boot keeps its own settings
UBOOT_ENVIRONMENT = 0x40000  # bytes
ENVIRONMENT = 0x4000  # bytes of a copy of the boot variables
COPIES = (0, 0x80000)  # where they begin in their partition
FACTORY = {"fleetcd_primary": "a", "fleetcd_trial": "none", "fleetcd_left": "0", "fleetcd_seq": "1"}
# Over U-Boot's own: no delay, no look at other disks; and what boot.cmd asks of a board.
SETTINGS = {
    "bootdelay": "-2",
    "boot_targets": "nvme0",
    "fleetcd_args": "console=ttyAMA0 panic=1 quiet",
}

_MIB = 1024 * 1024
_LINUX, _BASIC = "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"


@dataclass(frozen=True, slots=True)
class Partition:
    """`number` as in /dev/nvme0n1pN; `start` and `size` in bytes."""

    number: int
    name: str
    kind: str
    start: int
    size: int

    @property
    def device(self) -> str:
        return f"/dev/nvme0n1p{self.number}"


def _laid_out() -> dict[str, Partition]:
    sizes = (
        *(("boot", _BASIC, 4 * _MIB), ("variables", _LINUX, _MIB)),
        *(("root-a", _LINUX, SIZE), ("root-b", _LINUX, SIZE), ("data", _LINUX, 32 * _MIB)),
    )
    found: dict[str, Partition] = {}
    start = _MIB
    for number, (name, kind, size) in enumerate(sizes, 1):
        found[name] = Partition(number, name, kind, start, size)
        start += size
    return found


PARTITIONS = _laid_out()


@dataclass(frozen=True, slots=True)
class Disk:
    """`file` is the disk, `flash` holds U-Boot's own settings."""

    file: Path
    flash: Path

    def read(self, partition: str, length: int, *, at: int = 0) -> bytes:
        """Return `length` bytes of a partition."""
        with self.file.open("rb") as file:
            file.seek(PARTITIONS[partition].start + at)
            return file.read(length)

    def write(self, partition: str, content: bytes, *, at: int = 0) -> None:
        with self.file.open("r+b") as file:
            file.seek(PARTITIONS[partition].start + at)
            file.write(content)

    def variables(self) -> list[dict[str, str] | None]:
        """Return both copies of the boot variables, None for one that is not intact."""
        return [parse_environment(self.read("variables", ENVIRONMENT, at=at)) for at in COPIES]


def make_disk(directory: Path, root: Path, data: Path) -> Disk:
    """Make a disk in `directory` with the image `root` in slot a and the files of `data`."""
    disk = Disk(directory / "disk.img", directory / "flash.img")
    end = max(part.start + part.size for part in PARTITIONS.values())
    with disk.file.open("wb") as file:
        file.truncate(end + _MIB)  # the last one is for the second partition table
    table = "".join(
        f"start={part.start // 512}, size={part.size // 512}, type={part.kind}, name={part.name}\n"
        for part in PARTITIONS.values()
    )
    run("sfdisk", "--quiet", disk.file, content=f"label: gpt\nunit: sectors\n{table}".encode())
    for at in COPIES:
        disk.write("variables", environment(FACTORY, ENVIRONMENT), at=at)
    _put(disk, "root-a", root)
    with TemporaryDirectory(dir=directory) as scratch:
        _put(disk, "boot", _boot_partition(Path(scratch)))
        _put(disk, "data", _data_partition(Path(scratch), data))
    with disk.flash.open("wb") as file:
        file.truncate(FLASH)
        file.write(environment(uboot_defaults() | SETTINGS, UBOOT_ENVIRONMENT))
    return disk


def uboot_defaults() -> dict[str, str]:
    """Return the variables that Debian's U-Boot starts with, from its program file."""
    program = UBOOT.read_bytes()
    start = program.index(b"\0bootcmd=run distro_bootcmd\0") + 1
    return _pairs(program[start : program.index(b"\0\0", start)])


def environment(variables: Mapping[str, str], size: int) -> bytes:
    """Return variables as U-Boot stores them: CRC-32, then NAME=VALUE, each ended by a NUL."""
    text = "".join(f"{name}={value}\0" for name, value in variables.items()).encode() + b"\0"
    body = text.ljust(size - 4, b"\xff")
    return struct.pack("<I", zlib.crc32(body)) + body


def parse_environment(stored: bytes) -> dict[str, str] | None:
    (checksum,) = struct.unpack_from("<I", stored)
    if zlib.crc32(stored[4:]) != checksum:
        return None
    return _pairs(stored[4:].partition(b"\0\0")[0])


def _pairs(text: bytes) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.decode().split("\0"))
    return {name: value for name, _, value in pairs if name}


def _boot_partition(scratch: Path) -> Path:
    image, script = scratch / "boot.img", scratch / "boot.scr"
    run("mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-d", SCRIPT, script)
    with image.open("wb") as file:
        file.truncate(PARTITIONS["boot"].size)
    run("mkfs.vfat", image)
    run("mcopy", "-i", image, script, "::boot.scr")
    return image


def _data_partition(scratch: Path, data: Path) -> Path:
    image = scratch / "data.img"
    size = f"{PARTITIONS['data'].size // 1024}K"
    run("mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", data, image, size)
    return image


def _put(disk: Disk, partition: str, image: Path) -> None:
    part = PARTITIONS[partition]
    argv = ["dd", f"if={image}", f"of={disk.file}", "bs=1M", f"seek={part.start // _MIB}"]
    run(*argv, "conv=notrunc,sparse", "status=none")
