"""What is well and what is not, for people: Flux-like conditions of the reconciler as a whole."""

import threading
from collections.abc import Callable
from datetime import datetime

from schemas.wire.status import Condition

SOURCE, COMMIT, PUBLISHED = "SourceReady", "CommitValid", "Published"
STORE, DEVICES = "StoreReady", "DevicesDistinct"


class Conditions:
    """The newest word on each subject. Written by the loop, read by the gateway's threads."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._by_type: dict[str, Condition] = {}

    def well(self, subject: str, reason: str, message: str = "") -> bool:
        """Record that `subject` is well. Return whether that is news."""
        return self._set(subject, reason, message, status=True)

    def ill(self, subject: str, reason: str, message: str) -> bool:
        """Record that `subject` is not well, and why. Return whether that is news."""
        return self._set(subject, reason, message, status=False)

    def _set(self, subject: str, reason: str, message: str, *, status: bool) -> bool:
        with self._lock:
            old = self._by_type.get(subject)
            if old and (old.status, old.reason, old.message) == (status, reason, message):
                return False
            since = old.since if old and old.status is status else self._clock()
            self._by_type[subject] = Condition(subject, status, reason, message, since)
            return True

    def all(self) -> tuple[Condition, ...]:
        with self._lock:
            return tuple(condition for _, condition in sorted(self._by_type.items()))

    def get(self, subject: str) -> Condition | None:
        with self._lock:
            return self._by_type.get(subject)
