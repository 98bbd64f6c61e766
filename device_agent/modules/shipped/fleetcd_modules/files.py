"""Files and directories that are whole after a power cut, whenever it comes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

_CHUNK = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Look(NamedTuple):
    """A file's mode (without its type) and owner."""

    mode: int
    uid: int
    gid: int


def unfinished(target: Path) -> Path:
    """Return where a file lies until it is whole: beside `target`, under a fixed name."""
    return target.with_name(f".{target.name}.fleetcd-new")


def create(path: Path) -> IO[bytes]:
    """Open a file that must not be there yet. Raises OSError."""
    return os.fdopen(os.open(path, _NEW, 0o600), "wb")


def read(path: Path) -> IO[bytes]:
    """Open a file that must not be a link. Raises OSError."""
    return os.fdopen(os.open(path, _OLD), "rb")


def write(target: Path, data: bytes) -> None:
    """Make `target` hold `data`: after a power cut the old bytes or the new. Raises OSError."""
    temporary = unfinished(target)
    temporary.unlink(missing_ok=True)
    with create(temporary) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    _put(temporary, target)


def place(source: Path, target: Path, look: Look | None = None) -> None:
    """Make `target` a copy of `source`: after a power cut the old file or the new one.

    Without `look` it also has the owner, mode, times and extended attributes of `source`.
    Links are not followed, neither from `source` nor at `target`. Raises OSError, and then
    `target` is unchanged.
    """
    temporary = unfinished(target)
    temporary.unlink(missing_ok=True)
    try:
        with read(source) as reader, create(temporary) as writer:
            shutil.copyfileobj(reader, writer, _CHUNK)
            writer.flush()
            _dress(writer.fileno(), reader.fileno(), look)
            os.fsync(writer.fileno())
        _put(temporary, target)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise


def _dress(descriptor: int, source: int, look: Look | None) -> None:
    """Owner first: chown takes the set-user-id bit away."""
    if look is None:
        status = os.fstat(source)
        os.fchown(descriptor, status.st_uid, status.st_gid)
        shutil.copystat(f"/proc/self/fd/{source}", f"/proc/self/fd/{descriptor}")
    else:
        os.fchown(descriptor, look.uid, look.gid)
        os.fchmod(descriptor, look.mode)


def _put(temporary: Path, target: Path) -> None:
    temporary.replace(target)
    sync_directory(target.parent)


def sync_directory(path: Path) -> None:
    """Make renames and removals in `path` survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def missing(directory: Path) -> list[str]:
    """Return `directory` and those above it that do not exist, the deepest first."""
    return [str(path) for path in (directory, *directory.parents) if not path.exists()]


def make(directories: Sequence[str]) -> None:
    """Make what missing() returned, on the disk. Again: no effect. Raises OSError."""
    for path in map(Path, reversed(directories)):
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)


def unmake(directories: Sequence[str]) -> None:
    """Remove what make() made, as far as nobody put something there. Again: no effect."""
    for path in directories:
        with suppress(OSError):
            Path(path).rmdir()
