"""Room on the data partition that is kept back for the journal.

A module that fills the partition must not keep us from noting that we take its update back: that
frees the room again. The file holds noise: nobody reads it, and file systems that compress
(UBIFS, btrfs) would keep no room back for zeros.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

SIZE = 1024 * 1024  # bytes; a deployment with all its states takes a few hundred thousand

_CHUNK = 64 * 1024  # bytes written at once
_BLOCK = 512  # bytes; what stat(2) counts in


def make(path: Path) -> None:
    """Keep SIZE bytes back, if there is that much room. Again: no effect."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(OSError):  # no room: whoever needs it will say so
        descriptor = os.open(path, flags, 0o600)
        try:
            if not _whole(os.fstat(descriptor)):
                _fill(descriptor)
        except OSError:
            path.unlink()  # half a reserve would only take the last of the room
            raise
        finally:
            os.close(descriptor)


def _whole(status: os.stat_result) -> bool:
    return status.st_size == SIZE and status.st_blocks * _BLOCK >= SIZE


def _fill(descriptor: int) -> None:
    """Write SIZE bytes that cannot be compressed, and have them take their room now."""
    os.ftruncate(descriptor, 0)
    for _ in range(0, SIZE, _CHUNK):
        left = memoryview(os.urandom(_CHUNK))
        while left:
            left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)


def spend(path: Path) -> bool:
    """Give the room back when the disk is full; say whether that was so."""
    try:
        if shutil.disk_usage(path.parent).free >= SIZE:
            return False
        path.unlink()
    except OSError:  # there is none, or the disk is read-only
        return False
    return True
