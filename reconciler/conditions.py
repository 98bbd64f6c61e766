"""What is well and what is not, for people: Flux-like conditions of the reconciler as a whole."""

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime

from schemas.wire.status import Condition

SOURCE, COMMIT, PUBLISHED = "SourceReady", "CommitValid", "Published"
STORE, DEVICES, TIMESTAMP = "StoreReady", "DevicesDistinct", "TimestampFresh"

MAX_TOLD = 100  # different messages that are remembered of one illness


class Conditions:
    """The newest word on each subject. Written by the loop, read by the gateway's threads."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._by_type: dict[str, Condition] = {}
        self._told = defaultdict[str, set[tuple[str, str]]](set)

    def well(self, subject: str, reason: str, message: str = "") -> bool:
        """Record that `subject` is well. Return whether it was ill before."""
        with self._lock:
            old = self._by_type.get(subject)
            self._by_type[subject] = self._next(subject, reason, message, status=True)
            self._told.pop(subject, None)
            return old is not None and not old.status

    def ill(self, subject: str, reason: str, message: str) -> bool:
        """Record that `subject` is not well, and why. Return whether that is news.

        Two troubles that take turns are news once each, until the subject is well again.
        """
        with self._lock:
            self._by_type[subject] = self._next(subject, reason, message, status=False)
            told = self._told[subject]
            news = (reason, message) not in told
            if len(told) >= MAX_TOLD:
                told.clear()
            told.add((reason, message))
            return news

    def is_ill(self, subject: str) -> bool:
        with self._lock:
            condition = self._by_type.get(subject)
            return condition is not None and not condition.status

    def all(self) -> tuple[Condition, ...]:
        """Return the conditions in the order of their types."""
        with self._lock:
            return tuple(condition for _, condition in sorted(self._by_type.items()))

    def all_once_well(self, subject: str, reason: str, message: str) -> tuple[Condition, ...]:
        """Return what all() will return after well(): for a document that is published with it."""
        with self._lock:
            foreseen = {**self._by_type, subject: self._next(subject, reason, message, status=True)}
            return tuple(condition for _, condition in sorted(foreseen.items()))

    def get(self, subject: str) -> Condition | None:
        with self._lock:
            return self._by_type.get(subject)

    def _next(self, subject: str, reason: str, message: str, *, status: bool) -> Condition:
        old = self._by_type.get(subject)
        since = old.since if old and old.status is status else self._clock()
        return Condition(subject, status, reason, message, since)
