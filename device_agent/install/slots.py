"""Slots as the kernel sees them: block devices or files, how large, and whether they are in use."""

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

CHUNK = 1024 * 1024  # bytes read at once

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of mountinfo: `device` is `major:minor`, `source` what was given to mount."""

    device: str
    point: str
    source: str


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where the kernel tells about mounts and loop devices; tests point it elsewhere."""

    mountinfo: Path = Path("/proc/self/mountinfo")
    block_devices: Path = Path("/sys/dev/block")

    def mount_of(self, slot: Path) -> Mount | None:
        """Return a mount that uses `slot`, by itself or through a loop device. Raises OSError."""
        own = _device_number(slot)
        for mount in parse_mounts(self.mountinfo.read_text(encoding="utf-8", errors="replace")):
            if mount.device == own or _same(Path(mount.source), slot):
                return mount
            backing = self.block_devices / mount.device / "loop" / "backing_file"
            if backing.exists() and _same(Path(backing.read_text().rstrip("\n")), slot):
                return mount
        return None


def parse_mounts(mountinfo: str) -> tuple[Mount, ...]:
    """Return the mounts in the text of /proc/self/mountinfo (proc_pid_mountinfo(5)). Pure."""
    mounts = []
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        before, after = left.split(" "), right.split(" ")
        if separator and len(before) >= 6 and len(after) >= 2:
            mounts.append(Mount(before[2], _unescaped(before[4]), _unescaped(after[1])))
    return tuple(mounts)


def open_slot(slot: Path) -> int:
    """Return a descriptor to read and write `slot`, which must exist. Raises OSError.

    A block device is opened exclusively: the kernel refuses one that it uses itself (EBUSY).
    """
    exclusive = os.O_EXCL if stat.S_ISBLK(slot.stat().st_mode) else 0
    return os.open(slot, os.O_RDWR | os.O_CLOEXEC | exclusive)


def capacity(descriptor: int) -> int:
    """Return the bytes that an open slot holds."""
    return os.lseek(descriptor, 0, os.SEEK_END)


def digest_of(descriptor: int, length: int) -> "_Hash":
    """Return the SHA-256 of the first `length` bytes, or of what is there if that is less.

    They are read from the device: what is in memory is dropped, before and on the way. What is not
    synced stays in memory. Raises OSError.
    """
    digest, at = hashlib.sha256(), 0
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    while at < length and (piece := os.pread(descriptor, min(length - at, CHUNK), at)):
        digest.update(piece)
        os.posix_fadvise(descriptor, at, len(piece), os.POSIX_FADV_DONTNEED)
        at += len(piece)
    return digest


def _device_number(slot: Path) -> str:
    status = slot.stat()
    if not stat.S_ISBLK(status.st_mode):
        return ""
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _same(one: Path, other: Path) -> bool:
    return one.is_absolute() and one.exists() and one.samefile(other)


def _unescaped(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)
