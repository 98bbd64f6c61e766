"""Says when the branch may have moved: a hint, a change of a local repository's refs, or the poll
interval passed."""

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import SystemRandom

import structlog
from git import InvalidGitRepositoryError, NoSuchPathError, Repo
from watchdog.events import EVENT_TYPE_CREATED as CREATED
from watchdog.events import EVENT_TYPE_DELETED as DELETED
from watchdog.events import EVENT_TYPE_MODIFIED as MODIFIED
from watchdog.events import EVENT_TYPE_MOVED as MOVED
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver
from watchdog.observers.polling import PollingObserver

JITTER = 0.2  # of the poll interval, either way
_JOIN = 5.0  # seconds for the observer's thread to end
_LOOK = 0.5  # seconds between looks at the refs where the kernel cannot watch them

_REF_STORES = frozenset({"HEAD", "packed-refs", "refs", "reftable"})
_CHANGES = frozenset({CREATED, DELETED, MODIFIED, MOVED})

Watched = tuple[tuple[Path, int], ...]
"""Directories and their inode numbers."""

log = structlog.get_logger()

Jitter = Callable[[], float]
"""Returns a number from -1 to 1."""


def system_jitter() -> float:
    """The Jitter of production."""
    return SystemRandom().uniform(-1, 1)


def poll_delay(interval: timedelta, jitter: float) -> timedelta:
    """Return the time to the next poll: `interval` ± 20 %, so that reconcilers do not march."""
    return interval * (1 + JITTER * max(-1.0, min(1.0, jitter)))


class Alarm:
    """Rings for a hint or when a poll is due, whichever is first. Every thread may ring it."""

    def __init__(self, interval: timedelta, jitter: Jitter) -> None:
        self._interval, self._jitter = interval, jitter
        self._changed = threading.Condition()
        self._hinted = True  # nobody has looked yet
        self._closed = False
        self._due = 0.0

    def ring(self) -> None:
        with self._changed:
            self._hinted = True
            self._changed.notify_all()

    def looking(self) -> None:
        """Forget earlier hints. To be called before the remote is asked: later ones count."""
        with self._changed:
            self._rearm()

    def wait(self, timeout: timedelta) -> bool:
        """Return True when it rings, False after `timeout` or, at once, when it is closed."""
        until = time.monotonic() + timeout.total_seconds()
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                if self._hinted or now >= self._due:
                    self._rearm()
                    return True
                if now >= until:
                    return False
                self._changed.wait(min(self._due, until) - now)
        return False

    def close(self) -> None:
        """End every wait, for good. Again: no effect."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _rearm(self) -> None:
        self._hinted = False
        delay = poll_delay(self._interval, self._jitter())
        self._due = time.monotonic() + delay.total_seconds()


class RefWatch:
    """Rings the alarm when refs of a repository on this machine change.

    Where the kernel cannot watch (its watches are used up), the refs are looked at twice a second.
    A network file system may tell nothing; the poll interval remains.
    """

    def __init__(self, repository: Path, alarm: Alarm) -> None:
        self._repository, self._alarm = repository, alarm
        self._observer: BaseObserver | None = None
        self._watched: Watched = ()
        self._warned = False

    def arm(self) -> None:
        """Watch the refs where they lie now. Again: no effect, unless they were replaced."""
        try:
            watched = _ref_places(self._repository)
            if self._observer is not None and watched == self._watched:
                return
            self.close()
            if watched:
                self._observer, self._watched = self._started(watched), watched
        except OSError as error:
            self._warn("cannot watch the repository; it is polled", error)

    def close(self) -> None:
        """Stop watching. Again: no effect."""
        observer, self._observer, self._watched = self._observer, None, ()
        if observer is not None:
            observer.stop()
            observer.join(_JOIN)

    def _warn(self, what: str, error: OSError) -> None:
        if not self._warned:
            why = error.strerror or str(error)
            log.warning(what, repository=str(self._repository), error=why)
        self._warned = True

    def _started(self, watched: Watched) -> BaseObserver:
        try:
            return self._start(Observer(), watched)
        except OSError as error:
            self._warn("the kernel cannot watch the repository; its refs are looked at", error)
            return self._start(PollingObserver(timeout=_LOOK), watched)

    def _start(self, observer: BaseObserver, watched: Watched) -> BaseObserver:
        root = watched[0][0]
        handler = _RefChanges(root, self._alarm)
        try:
            for place, _ in watched:
                observer.schedule(handler, str(place), recursive=place != root)
            observer.start()
        except OSError:
            observer.unschedule_all()  # some of them may have started
            raise
        return observer


class _RefChanges(FileSystemEventHandler):
    def __init__(self, root: Path, alarm: Alarm) -> None:
        self._root, self._alarm = root, alarm

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in _CHANGES or (
            event.is_directory and event.event_type == MODIFIED
        ):
            return  # above all not "opened": our own fetch reads these files
        path = Path(os.fsdecode(event.dest_path or event.src_path))
        name = path.relative_to(self._root).parts[:1]
        if name and name[0] in _REF_STORES and path.suffix != ".lock":
            self._alarm.ring()


def _ref_places(repository: Path) -> Watched:
    """Return the repository's directories that hold refs, the one that holds all others first."""
    try:
        with Repo(repository, expand_vars=False) as repo:
            root = Path(repo.common_dir).resolve()
    except (InvalidGitRepositoryError, NoSuchPathError):
        return ()
    places = [root, *(root / name for name in ("refs", "reftable") if (root / name).is_dir())]
    return tuple((place, place.stat().st_ino) for place in places)
