"""Debian's U-Boot in QEMU with boot.cmd, and kernels that only restart the machine.

A boot takes about 2.5 seconds: no Linux is started.
"""

import re
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.qemu.uboot import UBOOT_ENVIRONMENT, environment, uboot_defaults
from tests.support.boot_uboot import Words, exported, imported

SCRIPT = Path(__file__).parents[2] / "docs" / "integration" / "uboot" / "boot.cmd"
FIRMWARE = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
SIZE = 0x4000  # bytes of a copy, as in boot.cmd

_MIB = 1024 * 1024
_PARTITIONS = {"boot": (1, 16), "environment": (17, 2), "a": (19, 16), "b": (35, 16)}  # in MiB
_COPIES = (17 * _MIB, 17 * _MIB + 0x80000)
_FLASH = 64 * _MIB
_STARTS = re.compile(r"fleetcd: slot ([ab]) \(|(Starting kernel)")


class QemuBoard:
    """A disk as boot.cmd wants it, in `directory`.

    With `settings`, U-Boot has them in its own environment, in flash. `beside` are files of both
    slots, besides the kernel, by name in /boot.
    """

    def __init__(
        self,
        directory: Path,
        settings: Words | None = None,
        beside: Mapping[str, bytes] | None = None,
    ) -> None:
        self._directory = directory
        self._flash = directory / "flash.img" if settings is not None else None
        if self._flash:
            with self._flash.open("wb") as flash:
                flash.truncate(_FLASH)
                flash.write(environment(uboot_defaults() | (settings or {}), UBOOT_ENVIRONMENT))
        self._beside = beside or {}
        self._disk = directory / "disk.img"
        with self._disk.open("wb") as disk:
            disk.truncate(52 * _MIB)
        lines = (f"start={at}MiB,size={size}MiB" for at, size in _PARTITIONS.values())
        _run("sfdisk", "-q", self._disk, text="label: gpt\n" + "\n".join(lines))
        self._put("boot", self._boot_partition())
        self._slot = self._slot_image()
        for slot in ("a", "b"):
            self._put(slot, self._slot)

    def prepare(self, copies: list[Words | None], unloadable: set[str]) -> None:
        """Store the copies of the boot variables (None: corrupt), and spoil slots."""
        for slot in ("a", "b"):
            self._put(slot, bytes(_MIB) if slot in unloadable else self._slot[:_MIB])
        for at, words in zip(_COPIES, copies, strict=True):
            data = b"\xff" * SIZE if words is None else exported(words, size=SIZE)
            self._write_at(at, data)

    def copies(self) -> list[Words | None]:
        content = self._disk.read_bytes()
        return [imported(content[at:], size=SIZE) for at in _COPIES]

    def lose(self, slot: str, name: str) -> None:
        """Remove the file /boot/`name` from a slot."""
        image = self._directory / "slot.img"
        _run("debugfs", "-w", "-R", f"rm /boot/{name}", image)
        self._put(slot, image.read_bytes())

    def boot(self, disk_options: str = "") -> str | None:
        """Start the board; return the slot whose kernel was started, if any."""
        drive = f"file={self._disk},format=raw,if=none,id=disk{disk_options}"
        argv = [
            *("qemu-system-aarch64", "-accel", "tcg", "-M", "virt", "-cpu", "cortex-a53"),
            *("-m", "512", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot"),
            *("-bios", str(FIRMWARE), "-drive", drive, "-device", "nvme,drive=disk,serial=1"),
        ]
        if self._flash:
            argv += ["-drive", f"if=pflash,unit=1,format=raw,file={self._flash}"]
        console = _run(*argv)
        slot = None
        for named, started in _STARTS.findall(console):
            if started:
                return slot
            slot = named
        return None

    def _boot_partition(self) -> bytes:
        image, script = self._directory / "boot.img", self._directory / "boot.scr"
        ending = self._directory / "boot.cmd"
        ending.write_text(SCRIPT.read_text() + "reset\n")  # where the next boot target would come
        _run("mkimage", "-T", "script", "-C", "none", "-d", ending, script)
        image.write_bytes(bytes(16 * _MIB))
        _run("mkfs.vfat", image)
        _run("mcopy", "-i", image, script, "::")
        return image.read_bytes()

    def _slot_image(self) -> bytes:
        root, image = self._directory / "root", self._directory / "slot.img"
        (root / "boot").mkdir(parents=True)
        (root / "boot" / "vmlinuz").write_bytes(restarting_kernel())
        for name, content in self._beside.items():
            (root / "boot" / name).write_bytes(content)
        _run("mke2fs", "-q", "-t", "ext4", "-d", root, image, "16M")
        return image.read_bytes()

    def _put(self, partition: str, content: bytes) -> None:
        self._write_at(_PARTITIONS[partition][0] * _MIB, content)

    def _write_at(self, at: int, content: bytes) -> None:
        with self._disk.open("r+b") as disk:
            disk.seek(at)
            disk.write(content)


def restarting_kernel() -> bytes:
    """Return an arm64 Image (Documentation/arch/arm64/booting.rst) that calls PSCI SYSTEM_RESET."""
    branch_over_header = 0x14000010
    header = struct.pack("<II6Q4sI", branch_over_header, 0, 0x80000, 4096, 0xA, 0, 0, 0, b"ARMd", 0)
    reset = struct.pack("<III", 0x52800120, 0x72B08000, 0xD4000002)  # w0 = 0x84000009; hvc #0
    return (header + reset).ljust(4096, b"\0")


def _run(*argv: object, text: str = "") -> str:
    done = subprocess.run(
        [str(word) for word in argv],
        input=text.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=90,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{argv[0]}: {said}"
    return said
