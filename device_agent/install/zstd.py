"""Zstandard by the `zstd` program: a child with capped memory, fed and drained without threads."""

import fcntl
import os
import resource
import selectors
import subprocess
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from device_agent.errors import InstallFailed, UpdateRejected
from device_agent.install.zstd_frame import MAX_WINDOW, Frame
from device_agent.process import last_line
from schemas.refusal import Code
from schemas.wire.report import FailureClass

ADDRESS_SPACE = 256 * 1024 * 1024  # bytes; window, buffers, and the program with its libraries
STALL = 60.0  # seconds in which the child must take or give something

_READ = 256 * 1024
_PIPE = 1024 * 1024  # bytes between the child and us; it goes on while the slot is synced
_MESSAGES = 4096  # bytes kept of stderr


def unzstd(chunks: Iterable[bytes]) -> Generator[bytes, None, None]:
    """Yield the content of the one frame in `chunks`.

    Raises UpdateRejected for what is not exactly one acceptable frame, InstallFailed when the
    program is missing or hangs.
    """
    frame = Frame()
    with _Program() as program:
        for chunk in chunks:
            frame.feed(chunk)
            yield from program.take(chunk)
        frame.end()
        yield from program.finish()


class _Program:
    """The running child. Leaving the `with` block kills it, whatever it is doing."""

    def __init__(self) -> None:
        self._messages = b""
        argv = ["zstd", "--decompress", "--stdout", "--quiet", f"--memory={MAX_WINDOW}"]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "MALLOC_ARENA_MAX": "1"}
        try:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                process_group=0,  # in our session: it shares what that yields (background.py)
            )
        except OSError as error:
            raise InstallFailed(
                f"cannot start zstd ({error.strerror}); install the zstd program",
                FailureClass.PREINSTALL,
            ) from error
        pipes = (self._child.stdin, self._child.stdout, self._child.stderr)
        self._stdin, self._stdout, self._stderr = (pipe.fileno() for pipe in pipes if pipe)
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        limits = (ADDRESS_SPACE, ADDRESS_SPACE)
        resource.prlimit(self._child.pid, resource.RLIMIT_AS, limits)
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
            with suppress(OSError):  # not allowed to have as much: then it is slower
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE)
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._stderr, selectors.EVENT_READ)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._child.kill()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(STALL)
        self._selector.close()
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe:
                pipe.close()

    def take(self, chunk: bytes) -> Iterator[bytes]:
        """Give `chunk` to the child, and yield what comes out meanwhile."""
        left = memoryview(chunk)
        self._selector.register(self._stdin, selectors.EVENT_WRITE)
        try:
            while left:
                ready = self._ready()
                yield from self._read(ready)
                if self._stdin in ready:
                    left = left[self._write(left) :]
        finally:
            self._selector.unregister(self._stdin)

    def finish(self) -> Iterator[bytes]:
        """End the input, and yield the rest. E_FORMAT when the child did not like it."""
        assert self._child.stdin  # noqa: S101 - a pipe
        self._child.stdin.close()
        while self._selector.get_map():
            yield from self._read(self._ready())
        try:
            status = self._child.wait(STALL)
        except subprocess.TimeoutExpired as error:
            raise _hung() from error
        if status != 0:
            said = last_line(self._messages) or f"zstd ended with status {status}"
            raise UpdateRejected(Code.FORMAT, said, FailureClass.DOWNLOAD)

    def _ready(self) -> set[int]:
        ready = {key.fd for key, _ in self._selector.select(STALL)}
        if not ready:
            raise _hung()
        return ready

    def _read(self, ready: set[int]) -> Iterator[bytes]:
        for descriptor in ready - {self._stdin}:
            data = os.read(descriptor, _READ)
            if not data:
                self._selector.unregister(descriptor)
            elif descriptor == self._stdout:
                yield data
            else:
                self._messages = (self._messages + data)[-_MESSAGES:]

    def _write(self, data: memoryview) -> int:
        """Return how much the child took. One that has ended takes all: finish() knows why."""
        with suppress(BrokenPipeError):
            return os.write(self._stdin, data)
        return len(data)


def _hung() -> InstallFailed:
    return InstallFailed(f"zstd made no progress for {STALL:.0f} s", FailureClass.TIMEOUT)
