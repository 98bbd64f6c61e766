"""Two directories change places at once, so that a path always holds one of them, whole.

A directory is known by its inode number, which renaming keeps: so after a power cut the disk itself
says how far a swap went, and any of the calls here can be repeated.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from . import files
from .protocol import Refused

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # fcntl.h, linux/fs.h
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # this filesystem or kernel
_MOUNTS = Path("/proc/self/mountinfo")


class Places(NamedTuple):
    """Where the two may lie: in their place, waiting beside it, or on the way there."""

    dest: Path
    aside: Path
    passing: Path


def places(dest: Path) -> Places:
    return Places(
        dest,
        dest.with_name(f".{dest.name}.fleetcd-aside"),
        dest.with_name(f".{dest.name}.fleetcd-passing"),
    )


def inode(path: Path) -> int | None:
    """Return the inode number of `path` itself, None when there is nothing."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None


def bring_in(at: Places, wanted: int) -> None:
    """Make `dest` the directory with the inode number `wanted`, and put the other one aside.

    Where the filesystem cannot exchange two names there are two renames, and an instant between
    them without `dest`. Again: no effect. Raises OSError, and Refused when `wanted` is nowhere.
    """
    where = next((path for path in at if inode(path) == wanted), None)
    if where is None:
        raise Refused(f"neither {at.dest} nor {at.aside} is the directory that it was; look there")
    if where != at.dest:
        if inode(at.dest) is None:
            where.rename(at.dest)
        elif not exchange(where, at.dest):
            at.dest.rename(at.passing if where == at.aside else at.aside)
            files.sync_directory(at.dest.parent)
            where.rename(at.dest)
    if inode(at.passing) is not None and inode(at.aside) is None:
        at.passing.rename(at.aside)
    files.sync_directory(at.dest.parent)


def exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step. False when this system cannot. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        number = ctypes.get_errno()
        if number not in _CANNOT:
            raise OSError(number, os.strerror(number), str(one), None, str(other))
        return False
    return True


def remove(path: Path) -> None:
    """Remove a directory with all that is in it. Again: no effect. Raises Refused on a mount."""
    if inode(path) is not None:
        refuse_mounts(path)
        shutil.rmtree(path)
        files.sync_directory(path.parent)


def refuse_mounts(path: Path) -> None:
    """Raise Refused when something is mounted at or below `path`: it must not go with it."""
    for line in _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        mounted = Path(_unescaped(line.split(" ")[4]))
        if path == mounted or path in mounted.parents:
            raise Refused(f"{path} cannot be replaced: {mounted} is a mount point; unmount it")


def _unescaped(field: str) -> str:
    """Read mountinfo's octal escapes of space, tab, newline and backslash (proc(5))."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), field)
