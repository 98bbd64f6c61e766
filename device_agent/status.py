"""What the agent says of itself to people and to applications on the device, and the Unix socket on
which the resident loop says it (docs/device-owner.md, docs/adr/status-socket.md).

Standard library only: the loop imports it.
"""

import fcntl
import logging
import os
import secrets
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from device_agent.core.component import BootFacts
from device_agent.core.record import Problem
from device_agent.core.states import State
from device_agent.errors import AgentError
from device_agent.journal import Journal
from schemas.refusal import Refusal
from schemas.resolve import Running
from schemas.wire.decode import encode
from schemas.wire.report import Event
from schemas.wire.types import ComponentSet

DEFAULT_PATH = Path("/run/fleetcd/status.sock")
VERSION = 1  # of the document: it rises when a field changes its meaning, not for new ones
LIMIT = 64 * 1024  # bytes of the document
WITHIN = 20.0  # seconds for an answer: the loop may just be asking a slow server for 15
INHIBITED = "inhibited"  # the journal's note of what the owner said when last asked
SLOT_TROUBLE = "slot-trouble"  # the journal's note of why no root filesystem can be installed now

_BACKLOG = 16  # connections that wait, and those that are answered in one go
_MAX_AGE = 1.0  # seconds: however often applications ask, the journal is read once in that time

log = logging.getLogger(__name__)

Document = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class About:
    """Who answers. `daemon`: the resident loop, not a command that read the journal itself."""

    name: str
    agent: str
    daemon: bool


@dataclass(frozen=True, slots=True)
class Slots:
    """The bootloader's slots; "" without slots."""

    running: str
    primary: str
    trial: str | None


@dataclass(frozen=True, slots=True)
class Work:
    """The deployment at work. `waiting`: why it does not go on now."""

    set: str
    content: ComponentSet
    state: State
    rollout: str | None
    attempt: int
    waiting: str | None
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Status:
    """The document, before it becomes JSON. `unreported` counts events that wait to be sent;
    `inhibited` is what the device's owner said when the agent last wanted to go on, `trouble` why
    the slots take no root filesystem, `by_hand` what a person is about to install, `artifact` the
    name of the last artifact of Mender's format."""

    version: int
    daemon: bool
    name: str
    agent: str
    fleet: str | None
    state: State
    running: Running | None
    slot: Slots
    deployment: Work | None
    last_outcome: Event | None
    failed: Mapping[str, int]
    unreported: int
    timestamp_version: int
    stale_since: datetime | None
    inhibited: str | None
    trouble: str | None
    by_hand: str | None
    artifact: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class NoStatus:
    """The document when there is none: `error` says why."""

    version: int
    daemon: bool
    name: str
    agent: str
    error: str
    updated_at: datetime


Reading = Status | NoStatus


def status_document(about: About, journal: Journal, boot: BootFacts, now: datetime) -> Status:
    """Return what `journal` and the bootloader say, for `show` and `status` alike.

    Raises what reading the journal raises: JournalDamaged, JournalUnavailable, Refusal.
    """
    record = journal.record()
    return Status(
        version=VERSION,
        daemon=about.daemon,
        name=about.name,
        agent=about.agent,
        fleet=journal.recall("fleet") or None,
        state=record.state if record else State.IDLE,
        running=running_here(journal, boot),
        slot=Slots(boot.running, boot.primary, boot.trial),
        deployment=_work(journal),
        last_outcome=journal.last_outcome(),
        failed=journal.failed(),
        unreported=journal.pending(),
        timestamp_version=int(journal.recall("timestamp") or 0),
        stale_since=journal.recall_time("stale"),
        inhibited=journal.recall(INHIBITED),
        trouble=journal.recall(SLOT_TROUBLE),
        by_hand=by_hand(journal),
        artifact=journal.provides().get("artifact_name"),
        updated_at=now,
    )


def by_hand(journal: Journal) -> str | None:
    """Say which update by hand is in progress, None without one."""
    if journal.standalone() is None:
        return None  # without the import: this one is resident
    from device_agent.standalone import in_progress

    try:
        return in_progress(journal)
    except Refusal:  # a newer agent's words, before a rollback
        return "an update by hand is in progress"


def _work(journal: Journal) -> Work | None:
    record = journal.record()
    if record is None:
        return None
    return Work(
        set=record.set,
        content=record.content,
        state=record.state,
        rollout=record.rollout,
        attempt=record.attempt,
        waiting=record.waiting,
        problem=record.problem,
    )


def running_here(journal: Journal, boot: BootFacts) -> Running | None:
    """Return what runs. What was committed in another slot than this one does not."""
    installed = journal.installed()
    here = installed is not None and installed.slot in ("", boot.running)
    return installed.running if installed and here else None


def in_words(outcome: Event) -> str:
    """Return how a deployment ended, as people read it: its set, the outcome, and why."""
    doubt = f"nobody knows about {', '.join(outcome.inconsistent)}" if outcome.inconsistent else ""
    why = "; ".join(filter(None, (outcome.message, doubt)))
    return f"{outcome.set}: {outcome.outcome}{f': {why}' if why else ''}"


def look(about: About, journal: Path, facts: Callable[[], BootFacts], now: datetime) -> Reading:
    """Return the status from the journal at `journal`, or why there is none."""
    try:
        with closing(Journal(journal, id=secrets.token_hex(16))) as opened:
            return status_document(about, opened, facts(), now)
    except (AgentError, Refusal, OSError) as error:
        return no_status(about, error, now)


def no_status(about: About, error: Exception, now: datetime) -> NoStatus:
    return NoStatus(VERSION, about.daemon, about.name, about.agent, str(error)[:1000], now)


def to_bytes(status: Reading) -> bytes:
    """Return the JSON document as it goes over the socket: one line, at most LIMIT bytes."""
    line = encode(status) + b"\n"
    if len(line) <= LIMIT or isinstance(status, NoStatus):
        return line
    about = About(status.name, status.agent, status.daemon)
    too_long = ValueError(f"the status has {len(line)} bytes; ask `fleetcd-agent show -o json`")
    return to_bytes(no_status(about, too_long, status.updated_at))


class StatusSocket:
    """Answers each connection at `path` with one document, without ever waiting for anybody.

    SIGIO says that somebody asks. It is blocked here, for whoever waits for signals to take it and
    to call `answer`. Raises OSError when the socket cannot be had.
    """

    def __init__(self, path: Path, document: Document) -> None:
        self._path, self._document = path, document
        self._line, self._read_at = b"", -_MAX_AGE
        _make_directory(path.parent)
        _remove_stale(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(path))
            path.chmod(0o666)  # it holds no secrets, and nothing that is said to it is heard
            self._listener.listen(_BACKLOG)
            self._listener.setblocking(False)
            _signal_when_asked(self._listener)
        except OSError:
            self._listener.close()
            raise

    def close(self) -> None:
        self._listener.close()
        with suppress(OSError):
            self._path.unlink()

    def answer(self) -> None:
        """Answer those who ask now. Whoever does not take the answer loses it, or a part of it."""
        for _ in range(_BACKLOG):
            try:
                asking, _ = self._listener.accept()
            except OSError:  # nobody is left, or they went away, or there are no descriptors
                return
            with closing(asking), suppress(OSError):
                asking.setblocking(False)
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LIMIT)
                asking.send(self._current())

    def _current(self) -> bytes:
        now = time.monotonic()
        if now - self._read_at >= _MAX_AGE:
            self._line, self._read_at = self._document(), now
        return self._line


def _make_directory(path: Path) -> None:
    """Make `path` one that every application can enter, if it is not there."""
    if not path.is_dir():
        path.mkdir(parents=True)
        path.chmod(0o755)  # whatever the umask says


def _remove_stale(path: Path) -> None:
    """Remove the socket that a daemon left which was killed. Raises FileExistsError for others."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(f"{path} is there and is no socket; move it away")
    if _is_answered(path):
        raise FileExistsError(f"{path} is another agent's; give each its own [owner] status")
    path.unlink()


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # so many ask that there is no place to wait
            return True
        return True


def _signal_when_asked(listener: socket.socket) -> None:
    """Make each new connection a SIGIO, so that the loop waits for nothing but signals.

    A handler, since the signal's default is to end the process; blocked, to be taken when we look.
    """
    signal.signal(signal.SIGIO, _already_taken)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    fcntl.fcntl(listener, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(listener, fcntl.F_GETFL)
    fcntl.fcntl(listener, fcntl.F_SETFL, flags | os.O_ASYNC)


def _already_taken(_number: int, _frame: object) -> None:
    pass


@contextmanager
def answering(path: Path | None, document: Document) -> Iterator[Callable[[], None]]:
    """Listen at `path` for as long as the block runs; yield what answers those who ask.

    A socket that cannot be had is a warning: it must not keep a device from its updates. None: no
    socket is wanted.
    """
    try:
        opened = StatusSocket(path, document) if path else None
    except OSError as error:
        log.warning("no status for applications at %s: %s", path, error)
        opened = None
    if opened is None:
        yield lambda: None
        return
    with closing(opened):
        yield opened.answer


def read_status(path: Path, within: float = WITHIN) -> bytes | None:
    """Return the document that the daemon sends at `path`, None when nobody answers in time."""
    deadline, document = time.monotonic() + within, b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.settimeout(within)
            asking.connect(str(path))
            while len(document) <= LIMIT:
                asking.settimeout(max(deadline - time.monotonic(), 0.001))
                part = asking.recv(LIMIT)
                if not part:
                    break
                document += part
        except OSError:
            return None
    return document if document.endswith(b"\n") and len(document) <= LIMIT else None
