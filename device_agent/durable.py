"""Durable files: once write() or remove() returned, a power cut cannot undo it or half of it."""

import os
from contextlib import suppress
from pathlib import Path


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Make `path` hold exactly `data`; after a power cut it holds the old bytes or the new ones.

    The temporary file lies beside `path` under a fixed name, so that a cut leaves at most one
    behind, which the next write replaces. One writer at a time. Raises OSError; then `path` is
    unchanged.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        _write_through(temporary, data, mode)
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def remove(path: Path) -> None:
    """Make `path` absent. Again: no effect. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Make the directory `path` and its missing parents. Again: no effect. Raises OSError."""
    if path.is_dir():
        return
    make_directory(path.parent, mode)
    path.mkdir(mode=mode, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames and removals in `path` survive a power cut. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_through(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask or a leftover file says
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
