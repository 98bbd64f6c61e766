"""The x86-64 board: GRUB by BIOS, whose grub.cfg reads the variables from two files on ext2."""

import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.qemu.cache import SOURCE
from tests.qemu.init import BUSYBOX, Init
from tests.qemu.partitions import PARTITIONS, Disk
from tests.qemu.programs import run

SCRIPT = SOURCE / "docs" / "integration" / "grub" / "grub.cfg"
BOOT_SECTOR = Path("/usr/lib/grub/i386-pc/boot.img")
SECTOR = 512  # bytes
BLOCK = 1024  # bytes of a block of the filesystem with the variables
BOOT_CODE = 440  # bytes of the disk's first sector; then come its identity and the partition table
KERNEL_SECTOR = 0x5C  # in the boot sector: where GRUB's core begins, counted in sectors
DRIVE_CHECK = 0x66  # in the boot sector: a jump past the look at the drive that the BIOS named
FIRST_LIST = 0x1F4  # in the core's first sector: where the rest of it lies, and goes in memory
CORE_SEGMENT = 0x820  # where the core expects its second sector
COPIES = ("fleetcd.env.0", "fleetcd.env.1")
SIGNATURE = "# GRUB Environment Block"
CHECKED = ("fleetcd_seq", "fleetcd_primary", "fleetcd_trial", "fleetcd_left")
FACTORY = ("1", "a", "none", "0")
# What the script's own list of modules leaves to the board: BIOS, our console, grub.cfg in memory.
MODULES = ("biosdisk", "serial", "terminal", "memdisk", "tar")
MOUNTED = "/boot/fleetcd"
BELOW = "# ---- Nothing of the board below.\n"  # ends the script's settings
# A busy machine keeps the emulator waiting. The kernel takes that for a broken timer, and panics
# (no_timer_check), or it measures the processor's clock wrong (tsc=unstable: it uses another one).
SETTINGS = f"""\
serial --unit=0 --speed=115200
terminal_output serial
set environment=gpt{PARTITIONS["variables"].number}
set copy_0=/{COPIES[0]}
set copy_1=/{COPIES[1]}
set partition_a=gpt{PARTITIONS["root-a"].number}
set partition_b=gpt{PARTITIONS["root-b"].number}
set device_a={PARTITIONS["root-a"].device}
set device_b={PARTITIONS["root-b"].device}
set kernel=/boot/vmlinuz
set initrd=/boot/initrd.img
set arguments="ro rootwait no_timer_check tsc=unstable console=ttyS0 quiet"
set panic=1
"""


@dataclass(frozen=True, slots=True)
class GrubKind:
    """QEMU's `q35` machine with SeaBIOS."""

    name: str = "grub"
    architecture: str = "amd64"
    packages: tuple[str, ...] = ("linux-image-cloud-amd64",)
    programs: tuple[str, ...] = ()
    init: Init = BUSYBOX
    boot_partition: str = "21686148-6449-6E6F-744E-656564454649"  # BIOS boot

    def machine(self, disk: Disk) -> tuple[str, ...]:  # noqa: ARG002 - nothing beside the disk
        return ("qemu-system-x86_64", "-machine", "q35", "-m", "512")

    def image_files(self) -> Mapping[str, bytes]:
        mount = f"mount -t ext2 -o noatime {PARTITIONS['variables'].device} {MOUNTED}"
        return {"/etc/board": f'{mount} || echo "init: no boot variables"\n'.encode()}

    def boot_section(self) -> str:
        return f"""\
[boot]
bootloader = "grub"
environments = ["{MOUNTED}/{COPIES[0]}", "{MOUNTED}/{COPIES[1]}"]
slots = {{ a = "{PARTITIONS["root-a"].device}", b = "{PARTITIONS["root-b"].device}" }}
"""

    def install(self, disk: Disk, scratch: Path) -> None:
        disk.put("variables", _variables_partition(scratch))
        sector, core = _boot_code(_core(scratch))
        disk.write("boot", core)
        with disk.file.open("r+b") as file:
            file.write(sector[:BOOT_CODE])

    def variables(self, disk: Disk) -> list[Mapping[str, str] | None]:
        return [parse_block(_debugfs(disk, f"cat /{name}")) for name in COPIES]

    def spoil(self, disk: Disk, copy: int) -> None:
        block = int(_debugfs(disk, f"bmap /{COPIES[copy]} 0"))
        disk.write("variables", os.urandom(SECTOR), at=block * BLOCK)


def _variables_partition(scratch: Path) -> Path:
    """Return a filesystem with both copies, made as docs/integration/grub/README.md says."""
    tree, image = scratch / "variables", scratch / "variables.img"
    tree.mkdir()
    values = [f"{name}={value}" for name, value in zip(CHECKED, FACTORY, strict=True)]
    for name in COPIES:
        run("grub-editenv", tree / name, "create")
        run("grub-editenv", tree / name, "set", *values, f"fleetcd_check={':'.join(FACTORY)}")
    argv = ["mkfs.ext2", "-q", "-F", "-b", BLOCK, "-E", "root_owner=0:0", "-d", tree, image]
    run(*argv, f"{PARTITIONS['variables'].size // 1024}K")
    return image


def _core(scratch: Path) -> bytes:
    """Return GRUB with all that it needs inside: no filesystem has to be intact for it to start."""
    script = SCRIPT.read_text()
    listed = re.search(r"^# Modules: (.+)$", script, re.MULTILINE)
    _, found, below = script.partition(BELOW)
    if not listed or not found:
        raise RuntimeError(f"{SCRIPT}: its list of modules or the end of its settings is missing")
    packed, core = scratch / "memdisk.tar", scratch / "core.img"
    config = scratch / "memdisk" / "boot" / "grub" / "grub.cfg"
    config.parent.mkdir(parents=True)
    config.write_text(SETTINGS + BELOW + below)
    run("tar", "-C", scratch / "memdisk", "-cf", packed, "boot")
    argv = ["grub-mkimage", "-O", "i386-pc", "-o", core, "-m", packed]
    run(*argv, "-p", "(memdisk)/boot/grub", *listed[1].split(), *MODULES)
    return core.read_bytes()


def _boot_code(core: bytes) -> tuple[bytes, bytes]:
    """Return the disk's first sector and `core`, each told where the next piece lies.

    As grub-bios-setup does it: the drive is the one that the BIOS started from.
    """
    first = PARTITIONS["boot"].start // SECTOR
    sector = bytearray(BOOT_SECTOR.read_bytes())
    struct.pack_into("<Q", sector, KERNEL_SECTOR, first)
    sector[DRIVE_CHECK : DRIVE_CHECK + 2] = b"\x90\x90"  # no jump: the drive is looked at
    sectors = -(-len(core) // SECTOR)
    told = bytearray(core)
    struct.pack_into("<QHH", told, FIRST_LIST, first + 1, sectors - 1, CORE_SEGMENT)
    return bytes(sector), bytes(told)


def parse_block(block: bytes) -> dict[str, str] | None:
    """Return the variables of a block, None when it is not one or contradicts its own check."""
    signature, *lines = block.decode("latin-1").split("\n")
    pairs = (line.partition("=") for line in lines)
    found = {name: value for name, equals, value in pairs if equals}
    check = ":".join(found.get(name, "") for name in CHECKED)
    return found if signature == SIGNATURE and found.get("fleetcd_check") == check else None


def _debugfs(disk: Disk, command: str) -> bytes:
    """Return what debugfs says about the filesystem with the variables, where it lies."""
    return run("debugfs", "-R", command, f"{disk.file}?offset={PARTITIONS['variables'].start}")
