"""Mounts that a module left in its tree: what is in them is not ours to remove."""

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_LIMIT = 16 * 1024 * 1024  # bytes
_MNT_DETACH, _UMOUNT_NOFOLLOW = 0x2, 0x8  # umount2(2)
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)


def detach_below(directory: Path) -> None:
    """Unmount everything at and below `directory`, the innermost first. Raises OSError."""
    for point in sorted(_below(os.fsencode(directory.resolve())), key=len, reverse=True):
        if _libc.umount2(point, _MNT_DETACH | _UMOUNT_NOFOLLOW):
            number = ctypes.get_errno()
            why = f"{os.fsdecode(point)} is mounted there: {os.strerror(number)}"
            raise OSError(number, why, os.fsdecode(directory))


def _below(directory: bytes) -> Iterator[bytes]:
    """Yield the mount points (the fifth field of proc(5), octal where not printable)."""
    with _MOUNTS.open("rb") as file:
        lines = file.read(_LIMIT).splitlines()
    for line in lines:
        point = _ESCAPED.sub(lambda octal: bytes([int(octal[1], 8)]), line.split(b" ")[4])
        if point == directory or point.startswith(directory + b"/"):
            yield point
