"""The resident loop: wait, ask whether the tree changed, and leave everything heavy to a child.

Standard library only, and small, since it is in memory for years (docs/adr/agent-process-model.md).
"""

import ctypes
import hashlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from device_agent import orphans
from device_agent.core.schedule import Polling, Uniform, delay
from device_agent.errors import TransientError, UpdateRejected
from device_agent.exit_codes import ExitCode
from device_agent.leaving import leave
from device_agent.outlook import Outlook
from device_agent.trust.source import Found, TreeSource

TIMESTAMP = "metadata/timestamp.json"
TIMESTAMP_LIMIT = 64 * 1024  # bytes
FULL_POLL = 900.0  # seconds: holds end and deployments change without a new timestamp
LOOK = 1.0  # seconds between looks at a child, and between watchdog pings at least
TERMINATION = 20.0  # seconds between SIGTERM and SIGKILL of a child's group; its modules take 10
_PR_SET_PDEATHSIG = 1  # prctl(2)
_CRASHED = 70  # EX_SOFTWARE

_WELL = (ExitCode.DONE, ExitCode.WAITING, ExitCode.AGAIN)

log = logging.getLogger(__name__)


class Probe:
    """Asks for timestamp.json conditionally: one small request tells that nothing happened."""

    def __init__(self, tree: TreeSource) -> None:
        self._tree = tree
        self._etag: str | None = None
        self._seen_etag: str | None = None
        self._known = self._seen = b""

    def changed(self) -> bool:
        """Return whether the tree moved since `accept`. Raises TransientError, UpdateRejected."""
        try:
            with self._tree.open(TIMESTAMP, self._etag) as answer:
                if answer.found is Found.UNCHANGED:
                    return False
                self._seen = _digest(answer.chunks)
                self._seen_etag = answer.etag
        finally:
            self._tree.close()
        return self._seen != self._known

    def accept(self) -> None:
        """The last answer was worked off. Until then the same answer is still news."""
        if self._seen:
            self._known, self._etag = self._seen, self._seen_etag


def _digest(chunks: Iterator[bytes]) -> bytes:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > TIMESTAMP_LIMIT:
            break  # whoever verifies it says what is wrong with it
        digest.update(chunk)
    return digest.digest()


@dataclass(slots=True)
class Loop:
    """Poll until asked to end. `work` runs a child and returns its status; `pause` sleeps, and
    returns True when the daemon has to end."""

    work: Callable[[], int]
    probe: Probe
    outlook: Callable[[], Outlook]
    pause: Callable[[float], bool]
    polling: Polling
    uniform: Uniform
    monotonic: Callable[[], float] = time.monotonic
    _failures: int = field(default=0, init=False)
    _full_at: float = field(default=0.0, init=False)

    def run(self) -> int:
        """Return the daemon's exit status: done (asked to end), or a reboot is wanted."""
        outlook, started = self.outlook(), self.monotonic()
        if not outlook.busy and self.pause(self.uniform(0.0, self.polling.initial_delay)):
            return ExitCode.DONE
        while True:
            status = self._poll()
            if status == ExitCode.REBOOT:
                return ExitCode.REBOOT
            if status in _WELL:
                self._failures = 0
            else:
                self._failures += 1
                log.warning("poll ended with status %d (%d in a row)", status, self._failures)
            if self.pause(self._wait(self.monotonic() - started)):
                return ExitCode.DONE

    def _wait(self, running_for: float) -> float:
        outlook = self.outlook()
        return delay(
            self.polling,
            hint=outlook.hint,
            unassigned_for=running_for if outlook.unassigned else None,
            failures=self._failures,
            uniform=self.uniform,
        )

    def _poll(self) -> int:
        if self.outlook().scripted:
            return self.work()  # Sync_Enter may bring the network up: nothing is asked before it
        try:
            changed = self.probe.changed()
        except (TransientError, UpdateRejected) as error:
            log.warning("the tree cannot be asked: %s", error)
            changed = None
        full = self.monotonic() >= self._full_at
        if not (changed or full or self.outlook().busy):
            return ExitCode.DONE if changed is False else ExitCode.UNAVAILABLE
        status = self.work()
        if status == ExitCode.DONE:
            self.probe.accept()
            self._full_at = self.monotonic() + FULL_POLL
        return status


def _nobody_asks() -> None:
    pass


class Signals:
    """SIGTERM, SIGINT, SIGCHLD and SIGIO, taken when we look: nothing interrupts anything by
    surprise. `answer` is called at each look, for applications that ask for our status (SIGIO)."""

    WATCHED = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGIO})

    def __init__(self, answer: Callable[[], None] = _nobody_asks) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, self.WATCHED)
        self._answer = answer
        self.ending = False

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as a child ended, somebody asked, or we have to."""
        found = signal.sigtimedwait(self.WATCHED, seconds)
        if found and found.si_signo in (signal.SIGTERM, signal.SIGINT):
            self.ending = True
        self._answer()

    def pause(self, seconds: float) -> bool:
        """Sleep; return True when the daemon has to end."""
        end = time.monotonic() + seconds
        while not self.ending and (left := end - time.monotonic()) > 0:
            self.wait(min(left, LOOK))
            orphans.reap()
            notify("WATCHDOG=1")
        return self.ending


class ForkedWork:
    """Runs `step` in a forked child of its own process group, for at most `timeout` seconds.

    The child may leak, crash or hang: the loop goes on. What a child left running after an end in
    order stays. What one that crashed or was killed had started is ended, or it would work on
    beside the next child. Call only while single-threaded.
    """

    def __init__(self, step: Callable[[], int], signals: Signals, timeout: float) -> None:
        self._step, self._signals, self._timeout = step, signals, timeout
        orphans.adopt()

    def __call__(self) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        parent, spared = os.getpid(), orphans.groups()
        try:
            child = os.fork()
        except OSError as error:
            log.error("no child can be started: %s", error)  # no memory, or too many processes
            return ExitCode.UNAVAILABLE
        if child == 0:
            self._be_child(parent)
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(child, child)  # whoever comes first
        status = self._watch(child)
        if status < 0 or status == _CRASHED:
            orphans.end(spared, self._look)
        return status

    def _be_child(self, parent: int) -> NoReturn:
        status = _CRASHED
        try:
            with suppress(PermissionError):
                os.setpgid(0, 0)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # no orphan keeps the lock
            if os.getppid() == parent:
                signal.signal(signal.SIGTERM, leave)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, Signals.WATCHED)
                status = self._step()
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else _CRASHED
        except BaseException:
            log.exception("a poll crashed")
        finally:
            with suppress(OSError):
                sys.stderr.flush()
            os._exit(status)

    def _watch(self, child: int) -> int:
        deadline, killing = time.monotonic() + self._timeout, False
        while True:
            status = orphans.reap(child)
            if status is not None:
                return os.waitstatus_to_exitcode(status)
            late = time.monotonic() >= deadline
            if killing and late:
                _signal_group(child, signal.SIGKILL)
            elif not killing and (late or self._signals.ending):
                killing, deadline = True, time.monotonic() + TERMINATION
                _signal_group(child, signal.SIGTERM)
            self._look()

    def _look(self) -> None:
        """Return at the next event, or after LOOK seconds."""
        notify("WATCHDOG=1")
        self._signals.wait(LOOK)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), if it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send(state.encode())
