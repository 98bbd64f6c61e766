"""Files that are whole or absent, and on the medium before anything names them."""

import contextlib
import ctypes
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

BATCH = 1024  # files that are flushed together
FEW = 8  # up to so many files are flushed one by one; more by one syncfs(2)

_libc = ctypes.CDLL(None, use_errno=True)


class Disk(Protocol):
    """Where published files go."""

    def write(self, files: Iterable[tuple[Path, bytes]]) -> None:
        """Put `files` in place, in order; each is whole or absent, whatever happens.

        When this returns all of them, and their directories' entries, survive a power cut.
        Existing files are replaced. Raises OSError (no space, read-only) and may then have put
        the first few in place. Again: the same.
        """
        ...

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove `paths`. Absent ones are no error."""
        ...


class Medium:
    """The disk of production: temporary file, fsync, rename, fsync of the directory.

    The temporary's name follows from the file's, so that a crash leaves at most one a file and
    the next attempt writes over it. Two processes must not write the same file: the lease sees
    to that.
    """

    def write(self, files: Iterable[tuple[Path, bytes]]) -> None:
        remaining = iter(files)
        while batch := list(itertools.islice(remaining, BATCH)):
            _write_batch(batch)

    def remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)


def _write_batch(files: list[tuple[Path, bytes]]) -> None:
    staged = [(_staging(path), path) for path, _ in files]
    try:
        for (temporary, path), (_, data) in zip(staged, files, strict=True):
            make_directory(path.parent)
            temporary.write_bytes(data)
        _flush([temporary for temporary, _ in staged])
    except OSError:
        for temporary, _ in staged:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        raise
    for temporary, path in staged:
        temporary.replace(path)
    for directory in dict.fromkeys(path.parent for path, _ in files):
        flush_directory(directory)


def _flush(files: list[Path]) -> None:
    if len(files) > FEW:
        flush_file_system(files[0].parent)
        return
    for file in files:
        with _descriptor(file, os.O_RDONLY) as fd:
            os.fsync(fd)


def flush_file_system(directory: Path) -> None:
    """Flush everything on the file system of `directory`, by syncfs(2).

    Hundreds of fsync calls are hundreds of commits of the file system's journal; this is one.
    Since Linux 5.8 it reports failed writes, as fsync does. Raises OSError.
    """
    with _descriptor(directory, os.O_RDONLY | os.O_DIRECTORY) as fd:
        if _libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(directory))


def _staging(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def make_directory(path: Path) -> None:
    """Make `path` and its parents; the new entries survive a power cut. Again: no effect."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    flush_directory(path.parent)


def flush_directory(path: Path) -> None:
    """Make the names in `path` survive a power cut."""
    with _descriptor(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)


def create_private(path: Path, data: bytes) -> None:
    """Create `path`, readable by its owner only, durably. Raises FileExistsError."""
    with _descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) as fd:
        with os.fdopen(fd, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(fd)
    flush_directory(path.parent)


@contextlib.contextmanager
def _descriptor(path: Path, flags: int, mode: int = 0o600) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, mode)
    try:
        yield fd
    finally:
        os.close(fd)
