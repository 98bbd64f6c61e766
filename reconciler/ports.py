"""What the reconciler needs from the world. Every method may be called twice."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.domain.observed import EnrolledDevice, Observed
from schemas.wire.manifest import Manifest
from schemas.wire.project import ProjectStatus
from schemas.wire.shard import ShardEntry
from schemas.wire.status import Decision, FleetStatus


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A regular file of a commit. `blob` is Git's object id: equal ids are equal bytes."""

    path: str
    blob: str
    size: int


class FleetSource(Protocol):
    """A branch of a Git repository, read through a bare mirror of our own."""

    def fetch(self) -> str:
        """Return the branch's newest commit id, fetched. Raises Unavailable or CommitRefused."""
        ...

    def accepted(self) -> str | None:
        """Return the commit that was accepted last, None before the first."""
        ...

    def accept(self, commit: str) -> None:
        """Remember `commit` as the one that the next must descend from. Again: the same."""
        ...

    def files(self, commit: str) -> tuple[RepoFile, ...]:
        """Return the commit's files. Raises CommitRefused for symlinks, submodules, too much."""
        ...

    def read(self, blobs: Iterable[str]) -> Mapping[str, bytes]:
        """Return the bytes of blobs that `files` named."""
        ...

    def committed_at(self, commit: str) -> datetime: ...

    def wait(self, timeout: timedelta) -> bool:
        """Return True as soon as the branch may have moved, False after `timeout` (plus jitter)."""
        ...


@dataclass(frozen=True, slots=True)
class Publication:
    """What the tree should hold. `documents` maps target paths (`fleets/x.json`) to their bytes;
    paths that are absent keep what they have. `releases` are the signed metadata files of the
    release roles (file name without version → bytes), as they lie in Git."""

    documents: Mapping[str, bytes]
    releases: Mapping[str, bytes] = field(default_factory=dict)


class Tree(Protocol):
    """The published tree. One writer; readers see the old tree or the new one, never a mix."""

    def take_lease(self) -> None:
        """Become the writer, or raise LeaseHeld. Again: no effect."""
        ...

    def project(self) -> ProjectStatus | None:
        """Return `project.json`, None before the first. Raises Unavailable for a damaged one."""
        ...

    def statuses(self) -> Mapping[str, FleetStatus]: ...

    def manifests(self) -> Mapping[str, Manifest]: ...

    def entries(self) -> Mapping[str, ShardEntry]:
        """Return every published device entry by key id."""
        ...

    def publish(self, publication: Publication, now: datetime) -> bool:
        """Make the tree hold `publication`; return whether anything changed.

        Raises NotSigned, Unavailable (a full disk), LeaseHeld (another writer moved the tree).
        """
        ...

    def refresh_timestamp(self, now: datetime) -> None:
        """Sign a new timestamp over the same snapshot. Needs the timestamp key only."""
        ...


class Store(Protocol):
    """What the gateway learnt from devices, and what it must know to judge what they say."""

    def devices_version(self) -> int:
        """Return a number that changes whenever enrolled() does."""
        ...

    def observed(
        self, now: datetime, timeouts: Mapping[str, tuple[timedelta, timedelta]]
    ) -> Observed:
        """Return the aggregates. `timeouts` by rollout: (attemptTimeout, reportLost)."""
        ...

    def learn(
        self,
        *,
        entries: Mapping[str, ShardEntry],
        listed: Mapping[str, str],
        manifests: Mapping[str, Manifest],
    ) -> None:
        """Remember what was published: entries by key, keys that Git lists (key → name), manifests.

        Reports are attributed to the stage that a manifest's admit rules give their device.
        """
        ...

    def restore(self, entries: Mapping[str, ShardEntry]) -> int:
        """Re-create accepted devices after a loss; return how many were new.

        Also those that have asked to join again since. Rejected ones stay rejected."""
        ...

    def record(self, fleet: str, decisions: Iterable[Decision]) -> None:
        """Append to the history. A decision that is there already is not repeated."""
        ...


class Pulse(Protocol):
    """Is told what the reconciler last did, for metrics and probes."""

    def published(self, at: datetime) -> None: ...

    def commit_seen(self, at: datetime) -> None: ...

    def commit_good(self, at: datetime) -> None: ...


Step = Callable[[str], None]
"""Called with a step's name before it begins; tests cut the power there."""


def no_step(name: str) -> None:
    """The Step of production: nothing happens."""


__all__ = [
    "EnrolledDevice",
    "FleetSource",
    "Publication",
    "Pulse",
    "RepoFile",
    "Step",
    "Store",
    "Tree",
    "no_step",
]
