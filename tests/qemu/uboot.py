"""The arm64 board: Debian's own U-Boot, whose boot.cmd reads the variables from a raw partition."""

import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.qemu.cache import SOURCE
from tests.qemu.init import BUSYBOX, Init
from tests.qemu.partitions import MIB, PARTITIONS, Disk
from tests.qemu.programs import run

SCRIPT = SOURCE / "docs" / "integration" / "uboot" / "boot.cmd"
UBOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
FLASH = 64 * MIB  # bytes of the board's second flash, where U-Boot keeps its own settings
UBOOT_ENVIRONMENT = 0x40000  # bytes
ENVIRONMENT = 0x4000  # bytes of a copy of the boot variables
COPIES = (0, 0x80000)  # where they begin in their partition
SECTOR = 512  # bytes
FACTORY = {"fleetcd_primary": "a", "fleetcd_trial": "none", "fleetcd_left": "0", "fleetcd_seq": "1"}
# Over U-Boot's own: no delay, no look at other disks; and what boot.cmd asks of a board.
SETTINGS = {
    "bootdelay": "-2",
    "boot_targets": "nvme0",
    "fleetcd_args": "console=ttyAMA0 panic=1 quiet",
}


@dataclass(frozen=True, slots=True)
class UBootKind:
    """QEMU's `virt` machine with a Cortex-A53."""

    name: str = "uboot"
    architecture: str = "arm64"
    packages: tuple[str, ...] = ("linux-image-cloud-arm64", "libubootenv-tool")
    programs: tuple[str, ...] = ("fw_printenv", "fw_setenv")
    init: Init = BUSYBOX
    boot_partition: str = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"  # basic data: FAT

    def machine(self, disk: Disk) -> tuple[str, ...]:
        return (
            *("qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a53", "-m", "512"),
            *("-bios", str(UBOOT)),
            *("-drive", f"if=pflash,unit=1,format=raw,file={_flash(disk)}"),
        )

    def image_files(self) -> Mapping[str, bytes]:
        device = PARTITIONS["variables"].device
        return {
            f"/etc/fw_env.{number}.config": f"{device} {at:#x} {ENVIRONMENT:#x}\n".encode()
            for number, at in enumerate(COPIES)
        }

    def boot_section(self) -> str:
        return f"""\
[boot]
bootloader = "uboot"
variables = "fleetcd"
environments = ["/etc/fw_env.0.config", "/etc/fw_env.1.config"]
slots = {{ a = "{PARTITIONS["root-a"].device}", b = "{PARTITIONS["root-b"].device}" }}
"""

    def install(self, disk: Disk, scratch: Path) -> None:
        for at in COPIES:
            disk.write("variables", environment(FACTORY, ENVIRONMENT), at=at)
        image, script = scratch / "boot.img", scratch / "boot.scr"
        run("mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-d", SCRIPT, script)
        with image.open("wb") as file:
            file.truncate(PARTITIONS["boot"].size)
        run("mkfs.vfat", image)
        run("mcopy", "-i", image, script, "::boot.scr")
        disk.put("boot", image)
        with _flash(disk).open("wb") as file:
            file.truncate(FLASH)
            file.write(environment(uboot_defaults() | SETTINGS, UBOOT_ENVIRONMENT))

    def variables(self, disk: Disk) -> list[Mapping[str, str] | None]:
        return [parse_environment(disk.read("variables", ENVIRONMENT, at=at)) for at in COPIES]

    def spoil(self, disk: Disk, copy: int) -> None:
        disk.write("variables", os.urandom(SECTOR), at=COPIES[copy])


def _flash(disk: Disk) -> Path:
    return disk.file.with_name(f"{disk.file.stem}.flash")


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
