"""Runs one git child through GitPython: bounded in time and output, its whole group ended.

Another thread may end it early: a reconciler that is told to stop does not wait for a Git host."""

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from git.cmd import Git

from reconciler.adapters.git_remote import INHERITED, Environment, shown
from reconciler.errors import Misconfigured, Stopping, Unavailable

OLDEST = (2, 31)  # earlier ones ignore GIT_CONFIG_COUNT, and with it the hardening
KEPT_STDERR = 16 * 1024
SHOWN_STDERR = 600
SMALL = 64 * 1024
_CHUNK = 64 * 1024
_NOT_FOUND = 127  # what env(1) exits with when there is no such program
_REAP = 5.0  # seconds for a killed child to disappear
_LOOK = 0.1  # seconds between two looks whether to stop
_STOPPING = "git was ended: this process is stopping"

# What git says → what the person who reads it can do.
_HINTS = (
    ("dubious ownership", "run the reconciler as the user who owns the repository, or use ssh"),
    ("Host key verification failed", "put the host's key into git.known_hosts_file"),
    ("Permission denied (publickey", "check git.ssh_key_file and the host's list of keys"),
    ("Authentication failed", "check git.token_file"),
    ("could not read Username", "set git.token_file"),
    ("returned error: 401", "check git.token_file"),
    ("returned error: 403", "the token may not read this repository"),
    ("returned error: 30", "redirects are not followed: give the address they lead to"),
)


class TooMuchOutput(Unavailable):
    """The child wrote more than its caller allowed and was ended."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended. `said` is its standard error, safe to show to people."""

    status: int
    stdout: bytes
    said: str


class GitChild:
    """Starts git in `directory`. `timeout` in seconds bounds every child.

    `stopping` is set for good when this process ends, by any thread: a running child is ended, and
    no other is started.
    """

    def __init__(self, directory: Path, timeout: float) -> None:
        self._git = Git(directory)
        self._timeout = timeout
        self.stopping = threading.Event()

    def check_version(self) -> None:
        """Raise Misconfigured unless git is new enough to obey the hardening."""
        if self._git.version_info[:2] < OLDEST:
            found = ".".join(map(str, self._git.version_info))
            raise Misconfigured(f"git {found} is too old: install git 2.31 or later")

    def run(
        self,
        *arguments: str,
        environment: Environment,
        stdin: bytes = b"",
        limit: int = SMALL,
        hold: Sequence[int] = (),
    ) -> Outcome:
        """Run `git arguments…` to its end; `limit` is in bytes of standard output.

        The child inherits the descriptors `hold`. Raises Unavailable after the timeout,
        TooMuchOutput beyond the limit, Stopping; each ends the child and all its descendants.
        """
        if self.stopping.is_set():
            raise Stopping(_STOPPING)
        process = self._start(arguments, environment, hold)
        child = cast("subprocess.Popen[bytes]", process.proc)
        exchange = _Exchange(child, stdin, limit, self.stopping)
        try:
            status = exchange.run(time.monotonic() + self._timeout)
        except TimeoutError as error:
            what = next((a for a in arguments if not a.startswith("-")), "")
            raise Unavailable(f"git {what} did not end within {self._timeout:g} s") from error
        finally:
            _end(child)
        if status == _NOT_FOUND:
            raise Misconfigured("there is no program `git` on PATH: install git 2.31 or later")
        return Outcome(status, bytes(exchange.stdout), explain(exchange.stderr, environment))

    def _start(
        self, arguments: Sequence[str], environment: Environment, hold: Sequence[int]
    ) -> Git.AutoInterrupt:
        try:
            return self._git.execute(
                [*_hiding_ours(environment), "git", *arguments],
                istream=subprocess.PIPE,
                as_process=True,
                env=dict(environment.variables),
                start_new_session=True,  # its own group, and no terminal to ask questions on
                pass_fds=tuple(hold),
            )
        except OSError as error:  # no memory, no more processes or descriptors
            raise Unavailable(f"git cannot be started: {error.strerror}") from error


def explain(stderr: bytes | bytearray, environment: Environment) -> str:
    """Return what git said on one line: its end, no secrets, no control characters, and advice."""
    text = stderr.decode("utf-8", "replace")
    for secret in environment.secrets:
        text = text.replace(secret, "***")
    lines = ("".join(c if c.isprintable() else "?" for c in line) for line in text.splitlines())
    said = shown("; ".join(line.strip() for line in lines if line))
    if len(said) > SHOWN_STDERR:
        said = "…" + said[-SHOWN_STDERR:]
    hint = next((advice for words, advice in _HINTS if words in said), "")
    return f"{said} ({hint})" if hint else said


def _hiding_ours(environment: Environment) -> list[str]:
    """Return the start of a command that hides our own GIT_* variables: GIT_DIR, traces."""
    kept = INHERITED | environment.variables.keys()
    hidden = [name for name in os.environ if name.startswith("GIT_") and name not in kept]
    return ["env", *(word for name in hidden for word in ("-u", name))]


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the child's group, reap the child, close its pipes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_REAP)
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


class _Exchange:
    """Feeds the child and takes what it writes, until it closes both its outputs."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        stdin: bytes,
        limit: int,
        stopping: threading.Event,
    ) -> None:
        self.stdout, self.stderr = bytearray(), bytearray()
        self._child, self._unsent, self._limit = child, stdin, limit
        self._stopping = stopping

    def run(self, deadline: float) -> int:
        """Return the exit status. Raises TimeoutError, TooMuchOutput, Stopping."""
        streams = (
            (self._child.stdin, selectors.EVENT_WRITE, self._feed),
            (self._child.stdout, selectors.EVENT_READ, self._take_output),
            (self._child.stderr, selectors.EVENT_READ, self._take_error),
        )
        with selectors.DefaultSelector() as selector:
            for pipe, event, serve in streams:
                stream = cast("IO[bytes]", pipe)
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, event, serve)
            while selector.get_map():
                for key, _ in selector.select(self._patience(deadline)):
                    if not key.data(key.fd):
                        selector.unregister(key.fileobj)
                        cast("IO[bytes]", key.fileobj).close()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self._child.wait(self._patience(deadline))

    def _patience(self, deadline: float) -> float:
        """Return how long to wait until the next look. Raises TimeoutError, Stopping."""
        if self._stopping.is_set():
            raise Stopping(_STOPPING)
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return min(remaining, _LOOK)

    def _take_output(self, fd: int) -> bool:
        chunk = os.read(fd, _CHUNK)
        self.stdout += chunk
        if len(self.stdout) > self._limit:
            raise TooMuchOutput(f"git wrote more than {self._limit} bytes")
        return bool(chunk)

    def _take_error(self, fd: int) -> bool:
        chunk = os.read(fd, _CHUNK)
        self.stderr += chunk
        del self.stderr[:-KEPT_STDERR]
        return bool(chunk)

    def _feed(self, fd: int) -> bool:
        try:
            written = os.write(fd, self._unsent[:_CHUNK]) if self._unsent else 0
        except BrokenPipeError:
            return False  # the child wants no more; its status says why
        self._unsent = self._unsent[written:]
        return bool(self._unsent)
