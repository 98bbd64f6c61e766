"""The published tree as a gateway shows it: read, verified, never written. Needs no private key."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import Key

from reconciler.adapters.dir_layout import Layout
from reconciler.adapters.tuf_documents import Documents
from reconciler.adapters.tuf_published import (
    Published,
    load_published,
    newest_root,
    read_targets,
    read_timestamp,
)
from reconciler.adapters.tuf_roles import ASSIGNMENTS
from reconciler.errors import Unavailable
from schemas.wire.project import PROJECT_LIMIT, ProjectStatus
from schemas.wire.status import STATUS_LIMIT, Condition, FleetStatus

T = TypeVar("T")

READS = 3  # a tree that moves while it is read is read again


class TreeView:
    """A FleetView (reconciler/http/ports.py) over a directory. Thread-safe.

    `conditions` are the reconciler's own, when it runs in this process; without them, what it
    published about itself in project.json is shown.
    """

    def __init__(
        self, directory: Path, conditions: Callable[[], Sequence[Condition]] | None = None
    ) -> None:
        self._layout, self._conditions = Layout(directory), conditions
        self._documents, self._lock = Documents(self._layout), threading.Lock()
        self._published: Published | None = None

    def statuses(self) -> Mapping[str, FleetStatus]:
        """Return every fleet's status. Raises Unavailable, Misconfigured."""
        found = self._read("status/", FleetStatus, STATUS_LIMIT)
        return {status.fleet: status for status in found.values()}

    def conditions(self) -> Sequence[Condition]:
        if self._conditions is not None:
            return self._conditions()
        found = self._read("project.json", ProjectStatus, PROJECT_LIMIT)
        return tuple(condition for project in found.values() for condition in project.conditions)

    def _read(self, prefix: str, kind: type[T], limit: int) -> Mapping[str, T]:
        with self._lock:
            for _ in range(READS):
                try:
                    return self._documents.read(self._current(), prefix, kind, limit)
                except OSError as error:
                    self._published, trouble = None, error
            raise Unavailable(f"{self._layout.root}: {trouble}") from trouble

    def _current(self) -> Published:
        raw = read_timestamp(self._layout)
        if self._published is None or self._published.timestamp_raw != raw:
            online, timestamp = self._keys()
            self._published = load_published(self._layout, online, timestamp)
        return self._published

    def _keys(self) -> tuple[Key, Key]:
        """Return the public keys of the online and the timestamp role, as root and targets say."""
        root = newest_root(self._layout)
        delegations = read_targets(self._layout).delegations
        if delegations is None or delegations.roles is None:
            raise Unavailable(f"{self._layout.root}: targets delegates nothing; make it anew")
        online = delegations.roles[ASSIGNMENTS].keyids[0]
        return delegations.keys[online], root.keys[root.roles["timestamp"].keyids[0]]
