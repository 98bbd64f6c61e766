"""Children: started from an argument list, bounded in time and output, ended with their group."""

import ctypes
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from device_agent.leaving import ASKED

OUTPUT_LIMIT = 64 * 1024  # bytes kept of each of stdout and stderr; the rest is read and dropped
TERMINATION = 10.0  # seconds between SIGTERM and SIGKILL

_READ = 64 * 1024
_LOOK = 0.05  # seconds between looks at a child, for kernels that cannot tell of its end
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None)  # here, since little may be done between fork and exec


@dataclass(frozen=True, slots=True)
class Completed:
    """How a child ended. `status` is its exit status, or minus the signal that killed it."""

    status: int
    stdout: bytes
    stderr: bytes
    timed_out: bool
    truncated: bool  # it wrote more to stdout than was kept

    @property
    def ok(self) -> bool:
        return self.status == 0 and not self.timed_out

    def __str__(self) -> str:
        """Say it to people: how it ended, and the last line of its output."""
        if self.timed_out:
            end = "did not end in time and was killed"
        elif self.status < 0:
            end = f"was killed by signal {-self.status}"
        else:
            end = f"exited with status {self.status}"
        said = last_line(self.stderr) or last_line(self.stdout)
        return f"{end}: {said}" if said else end


def last_line(output: bytes, limit: int = 200) -> str:
    """Return the last line that is not blank, escaped and at most `limit` characters long."""
    lines = [line for line in output[-8 * limit :].splitlines() if line.strip()]
    return printable(lines[-1].strip(), limit) if lines else ""


def printable(output: bytes, limit: int) -> str:
    """Return `output` as one line without control characters, at most `limit` characters long."""
    text = output.decode("utf-8", "backslashreplace")
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:limit]
    )
    return shown if len(shown) <= limit and len(text) <= limit else shown[: limit - 1] + "…"


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str],
    directory: Path | None = None,
    output_limit: int = OUTPUT_LIMIT,
    termination: float = TERMINATION,
    may_leave: Collection[int] = (0,),
) -> Completed:
    """Run `argv` to its end, or for `timeout` seconds; `may_leave` is as for Child.wait().

    Raises OSError when it cannot start.
    """
    with Child(
        argv,
        environment=environment,
        directory=directory,
        output_limit=output_limit,
        termination=termination,
    ) as child:
        return child.wait(timeout, may_leave)


class Child:
    """A running child, in a session and process group of its own.

    Nothing here runs in another thread: whoever works beside the child calls pump() now and then,
    so that it never blocks on its output. Leaving the `with` block ends the group if the child
    still runs; should we be killed, the kernel kills the child, so that it starts nothing more
    beside whoever comes after us. (What the child itself has started then is for the daemon to
    end, or for the service's control group.) Children that it left behind after a good end are
    its own affair (a module may start a reboot that way), but they cannot hold up wait().

    Enter it at once: being asked to end (leaving.py) waits from the child's start until then, or
    the child would have nobody who ends it.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path | None = None,
        output_limit: int = OUTPUT_LIMIT,
        termination: float = TERMINATION,
    ) -> None:
        self._limit, self._termination = output_limit, termination
        self._timed_out, self._truncated = False, False
        self._selector = selectors.DefaultSelector()  # before there is a child that it could cost
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, ASKED)
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                cwd=directory,
                start_new_session=True,
                preexec_fn=_before_exec(os.getpid(), self._mask),
            )
            assert self._process.stdout and self._process.stderr  # noqa: S101 - both are pipes
            self._pipes = (self._process.stdout, self._process.stderr)
            self._kept = {pipe.fileno(): bytearray() for pipe in self._pipes}
            for descriptor in self._kept:
                os.set_blocking(descriptor, False)
                self._selector.register(descriptor, selectors.EVENT_READ)
            self._end_of_child = self._watch_end()
        except BaseException:
            self._unblock()
            raise

    def __enter__(self) -> Self:
        try:
            self._unblock()
        except BaseException as asked:  # what was held back is heard here
            self.__exit__(type(asked), asked, asked.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.running:
            self._end()
        self._reap()
        self._selector.close()
        for pipe in self._pipes:
            pipe.close()
        if self._end_of_child is not None:
            os.close(self._end_of_child)

    @property
    def running(self) -> bool:
        """Say whether the child runs. An ended one is not reaped yet: its group id stays ours."""
        if self._process.returncode is not None:
            return False
        return self._ended() is None

    def pump(self, seconds: float, writable: int | None = None) -> bool:
        """Take output for at most `seconds`; return at once when descriptor `writable` is writable.

        Returns whether it is.
        """
        if writable is not None:
            self._selector.register(writable, selectors.EVENT_WRITE)
        try:
            if not self._selector.get_map():
                time.sleep(seconds)
                return False
            ready = [key.fd for key, _ in self._selector.select(seconds)]
        finally:
            if writable is not None:
                self._selector.unregister(writable)
        for descriptor in ready:
            if descriptor != writable:
                self._serve(descriptor)
        return writable in ready

    def wait(self, timeout: float, may_leave: Collection[int] = (0,)) -> Completed:
        """Return how the child ended; after `timeout` seconds its group is ended by force.

        So is what it left behind, unless it ended with one of the statuses `may_leave`: it would
        go on with what is taken back now.
        """
        if not self._wait_until(time.monotonic() + timeout):
            self._timed_out = True
            self._end()
        elif self._exit_status() not in may_leave:
            self._signal(signal.SIGKILL)
        status = self._reap()
        self._drain()
        stdout, stderr = (bytes(kept) for kept in self._kept.values())
        return Completed(status, stdout, stderr, self._timed_out, self._truncated)

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _watch_end(self) -> int | None:
        """Have pump() return when the child ends: no pipe of its need close then."""
        try:
            descriptor = os.pidfd_open(self._process.pid)
        except OSError:  # a kernel before 5.3, or no descriptor left
            return None
        self._selector.register(descriptor, selectors.EVENT_READ)
        return descriptor

    def _ended(self) -> os.waitid_result | None:
        """Return how the child ended, and leave it unreaped; None while it runs."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options)

    def _exit_status(self) -> int | None:
        ended = self._ended()
        return ended.si_status if ended and ended.si_code == os.CLD_EXITED else None

    def _wait_until(self, deadline: float) -> bool:
        while self.running:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.pump(min(left, _LOOK))
        return True

    def _end(self) -> None:
        """TERM to the group, time to tidy up, KILL to whatever is left of the group."""
        self._signal(signal.SIGTERM)
        self._wait_until(time.monotonic() + self._termination)
        self._signal(signal.SIGKILL)

    def _reap(self) -> int:
        """Return the status. A child that hangs in the kernel outlives KILL: it is left there."""
        try:
            return self._process.wait(self._termination)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _drain(self) -> None:
        """Take what lies in the pipes. Bounded: something that the child left may go on writing."""
        for _ in range(64):
            if not self._selector.get_map():
                return
            ready = self._selector.select(0)
            if not ready:
                return
            for key, _ in ready:
                self._serve(key.fd)

    def _serve(self, descriptor: int) -> None:
        if descriptor == self._end_of_child:
            self._selector.unregister(descriptor)  # it stays readable: once told is enough
        else:
            self._take(descriptor)

    def _take(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _READ)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(descriptor)
            return
        kept = self._kept[descriptor]
        if descriptor == self._pipes[0].fileno():
            self._truncated |= len(kept) + len(data) > self._limit
        kept += data[: self._limit - len(kept)]


def _before_exec(parent: int, mask: Collection[int]) -> Callable[[], None]:
    """Return what a child does before exec: it dies with its parent, and has signals as `mask`."""

    def arrange() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before it was asked for
            os.kill(os.getpid(), signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return arrange
