"""Room on the data partition that is kept back for the journal.

A module that fills the partition must not keep us from noting that we take its update back: that
frees the room again. The file holds nothing, so it need not survive a power cut.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

SIZE = 1024 * 1024  # bytes; a deployment with all its states takes a few hundred thousand


def make(path: Path) -> None:
    """Keep SIZE bytes back, if there is that much room. Again: no effect."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(OSError):  # no room: whoever needs it will say so
        descriptor = os.open(path, flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, SIZE)
        finally:
            os.close(descriptor)


def spend(path: Path) -> bool:
    """Give the room back when the disk is full; say whether that was so."""
    try:
        if shutil.disk_usage(path.parent).free >= SIZE:
            return False
        path.unlink()
    except OSError:  # there is none, or the disk is read-only
        return False
    return True
