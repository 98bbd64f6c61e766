"""Hands a payload to a module that is running Download: by named pipes, file after file.

The order is the protocol's. The pipe `streams/<name>` exists before `stream-next` tells of it. A
module that opens `stream-next` once more reads nothing, and so knows that there is no more. Opening
a pipe for writing without blocking fails until somebody reads, so a module that never does costs
nothing: no thread can be left hanging in open().
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from pathlib import Path

from device_agent.errors import UpdateRejected
from device_agent.modules.payload import Payload, PayloadFile, checked_name
from device_agent.modules.tree import STREAMS, Tree
from device_agent.process import Child
from schemas.refusal import Code
from schemas.wire.report import FailureClass

LOOK = 0.01  # seconds between looks for a reader, at most
# Bytes that a stream's pipe should hold: enough for both sides to work at once; and no more, since
# nobody notices that a module left unread what the pipe could hold.
PIPE = 256 * 1024
CLOSING = 5.0  # seconds for a module that stopped reading to end by itself

_FIRST_LOOK = 0.001
_BLOCKED = 0.2  # seconds between looks at a module that does not read what it opened

# A link is not followed. Where a module left a pipe that nobody reads, opening it fails at once.
_STORED = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Line = Callable[[PayloadFile], str]


class Streamed(Enum):
    """How far a module went with its streams."""

    UNTOUCHED = auto()  # it never opened stream-next: the files are to be stored for it
    UNFINISHED = auto()
    FINISHED = auto()


class _Gone(Exception):
    """The module ended, or stopped reading, or its time is up."""


def plain_line(file: PayloadFile) -> str:
    """What Download reads from stream-next."""
    return f"{STREAMS}/{file.name}\n"


def line_with_size(file: PayloadFile) -> str:
    """What DownloadWithFileSizes reads from stream-next."""
    return f"{STREAMS}/{file.name} {file.size}\n"


class Streamer:
    """One Download. `deadline` is time.monotonic() when the module's time is up."""

    def __init__(self, child: Child, tree: Tree, deadline: float) -> None:
        self._child, self._tree, self._deadline = child, tree, deadline

    def stream(self, payload: Payload, line: Line) -> Streamed:
        """Serve the module until it has all or is gone. Passes on what the payload raises."""
        reached = Streamed.UNTOUCHED
        try:
            for file in payload.files():
                with self._reader(self._tree.stream_next) as pipe:
                    reached = Streamed.UNFINISHED
                    _refuse_link(self._tree.streams)
                    fifo = self._tree.streams / checked_name(file.name)
                    os.mkfifo(fifo, 0o600)
                    self._write(pipe, line(file).encode())
                self._copy(file, fifo)
            with self._reader(self._tree.stream_next):
                pass  # closed without a word: no more files
        except _Gone:
            self._wait_for_end()
            return reached
        return Streamed.FINISHED

    def _copy(self, file: PayloadFile, fifo: Path) -> None:
        with self._reader(fifo) as pipe:
            for chunk in file.chunks:
                self._write(pipe, chunk)
            fifo.unlink(missing_ok=True)  # before its end: nobody can wait for it once more

    @contextmanager
    def _reader(self, fifo: Path) -> Iterator[int]:
        """Give the pipe's writing end once somebody has opened `fifo` for reading."""
        descriptor, look = None, _FIRST_LOOK
        while descriptor is None:
            running = self._child.running  # before open(): a last reader is not missed
            descriptor = _open_if_read(fifo)
            if descriptor is None:
                if not running or time.monotonic() >= self._deadline:
                    raise _Gone
                self._child.pump(look)
                look = min(2 * look, LOOK)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _write(self, pipe: int, data: bytes) -> None:
        """Write `data`, as long as the module runs: something that it left may hold the pipe."""
        left = memoryview(data)
        while left:
            if time.monotonic() >= self._deadline or not self._child.running:
                raise _Gone
            try:
                left = left[os.write(pipe, left) :]
            except BlockingIOError:  # full: its output is taken, in case that is what it waits for
                self._child.pump(_BLOCKED, writable=pipe)
            except BrokenPipeError as error:
                raise _Gone from error

    def _wait_for_end(self) -> None:
        """Give a module that stopped reading a moment to say why; its caller ends it otherwise."""
        until = min(self._deadline, time.monotonic() + CLOSING)
        while self._child.running and time.monotonic() < until:
            self._child.pump(LOOK)


def _open_if_read(fifo: Path) -> int | None:
    """Return a non-blocking descriptor to write to `fifo`, or None while nobody reads it."""
    try:
        descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    with suppress(OSError):  # as large as the system lets it be
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE)
    return descriptor


def store(payload: Payload, tree: Tree) -> None:
    """Write the payload's files to `files/`, for a module that did not read the streams.

    Without a file there is no `files/`. Raises OSError, UpdateRejected (E_SPACE) before a file is
    begun, and what the payload raises; then the file in question is gone again.
    """
    for file in payload.files():
        tree.files.mkdir(mode=0o700, exist_ok=True)
        _refuse_link(tree.files)
        path = tree.files / checked_name(file.name)
        _refuse_too_large(file, tree.files)
        try:
            with os.fdopen(os.open(path, _STORED, 0o644), "wb") as target:
                target.writelines(file.chunks)
        except BaseException:
            if path.is_file():
                path.unlink()
            raise
    tree.sync()


def _refuse_link(directory: Path) -> None:
    """Raise OSError where a module has put a link in place of its directory: it leads elsewhere."""
    if directory.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, f"{directory.name} is a link", str(directory))


def _refuse_too_large(file: PayloadFile, directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if file.size > free:
        raise UpdateRejected(
            Code.SPACE,
            f"{file.name} has {file.size} bytes, {directory} has room for {free}",
            FailureClass.SPACE,
        )
