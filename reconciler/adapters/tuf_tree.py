"""The published tree in a directory: written in an order that a power cut cannot break."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import Signer
from tuf.api.metadata import MetaFile, Timestamp

from reconciler.adapters.dir_layout import Layout
from reconciler.adapters.durable import Disk, Medium
from reconciler.adapters.lease import Lease
from reconciler.adapters.tuf_change import Change, change_for
from reconciler.adapters.tuf_documents import Documents
from reconciler.adapters.tuf_published import Published, load_published, read_timestamp
from reconciler.adapters.tuf_roles import ASSIGNMENTS, read_own, signed_bytes
from reconciler.adapters.tuf_timestamp import TIMESTAMP_STEP, refresh_timestamp, replace_timestamp
from reconciler.errors import LeaseHeld, Unavailable
from reconciler.ports import Publication, Step, no_step
from schemas.canonical import sha256_hex
from schemas.wire.manifest import MANIFEST_LIMIT, Manifest
from schemas.wire.project import PROJECT_LIMIT, ProjectStatus
from schemas.wire.shard import SHARD_LIMIT, Shard, ShardEntry
from schemas.wire.status import STATUS_LIMIT, FleetStatus

T = TypeVar("T")

PUBLISH_STEPS: tuple[str, ...] = (
    "documents",
    "releases",
    "bins",
    "assignments",
    "snapshot",
    TIMESTAMP_STEP,
)
"""The order of a publish. Before the last step nothing that was written can be seen."""


class DirectoryTree:
    """`reconciler.ports.Tree` over a directory.

    `online` signs bins, assignments and snapshot, `timestamp` the timestamp. `writer` names this
    reconciler to whoever finds the lease held. `step` is called before each step's effect.
    """

    def __init__(
        self,
        directory: Path,
        *,
        online: Signer,
        timestamp: Signer,
        writer: str = "fleetcd",
        disk: Disk | None = None,
        step: Step = no_step,
    ) -> None:
        self._layout = Layout(directory)
        self._online, self._timestamp = online, timestamp
        self._lease = Lease(self._layout.lease, writer)
        self._disk, self._step = disk or Medium(), step
        self._documents = Documents(self._layout)
        self._published: Published | None = None
        self._known = set[tuple[str, str]]()

    def take_lease(self) -> None:
        """Become the writer, or raise LeaseHeld. Again: no effect."""
        with self._disk_errors():
            self._lease.take()

    def release_lease(self) -> None:
        """Let another reconciler write. Again: no effect."""
        self._lease.release()

    def project(self) -> ProjectStatus | None:
        """Return `project.json`, None before the first. Raises Unavailable for a damaged one."""
        found = self._read("project.json", ProjectStatus, PROJECT_LIMIT)
        return found.get("project.json")

    def statuses(self) -> Mapping[str, FleetStatus]:
        """Return `status/<fleet>.json` by fleet. Raises Unavailable for a damaged document."""
        found = self._read("status/", FleetStatus, STATUS_LIMIT)
        return {status.fleet: status for status in found.values()}

    def manifests(self) -> Mapping[str, Manifest]:
        """Return `fleets/<fleet>.json` by fleet. Raises Unavailable for a damaged document."""
        found = self._read("fleets/", Manifest, MANIFEST_LIMIT)
        return {manifest.fleet: manifest for manifest in found.values()}

    def entries(self) -> Mapping[str, ShardEntry]:
        """Return every published device entry by key id. Raises Unavailable likewise."""
        shards = self._read("devices/", Shard, SHARD_LIMIT)
        return {key: entry for shard in shards.values() for key, entry in shard.entries.items()}

    def publish(self, publication: Publication, now: datetime) -> bool:
        """Make the tree hold `publication`; return whether anything changed. Again: False.

        Metadata that nears its expiry, and a timestamp of six hours, are signed anew on the way.
        Raises NotSigned, CommitRefused,
        Unavailable (a full disk: the old tree stays whole), LeaseHeld, Misconfigured.
        """
        self.take_lease()
        with self._disk_errors():
            published = self._current()
            change = change_for(published, publication, self._present, now)
            if change.empty:
                return False
            self._published = None  # whatever happens now, the disk knows better
            self._published = self._put(published, change, now)
            return True

    def refresh_timestamp(self, now: datetime) -> None:
        """Sign a new timestamp over the same snapshot. Needs the timestamp key only."""
        refresh_timestamp(self._layout, self._timestamp, now, disk=self._disk, step=self._step)

    def _put(self, published: Published, change: Change, now: datetime) -> Published:
        """Write `change`, what is named before what names it, and return the new state."""
        layout, online = self._layout, [self._online]
        if change.documents:
            self._step("documents")
            self._disk.write(
                (layout.target(path, sha256), data)
                for (path, sha256), data in change.documents.items()
            )
        if change.releases:
            self._step("releases")
            self._disk.write(
                (layout.metadata(role, signed.targets.version), signed.raw)
                for role, signed in change.releases.items()
            )
        if change.bins:
            self._step("bins")
            self._disk.write(
                (layout.metadata(role, bin.version), signed_bytes(bin, online))
                for role, bin in change.bins.items()
            )
        if change.assignments:
            self._step("assignments")
            path = layout.metadata(ASSIGNMENTS, change.assignments.version)
            self._disk.write([(path, signed_bytes(change.assignments, online))])
        meta = published.timestamp.snapshot_meta
        if change.snapshot:
            raw = signed_bytes(change.snapshot, online)
            version = change.snapshot.version
            self._step("snapshot")
            self._disk.write([(layout.metadata("snapshot", version), raw)])
            meta = MetaFile(version, len(raw), {"sha256": sha256_hex(raw)})
        if not change.timestamp:
            return change.after
        return self._show(published, change.after, meta, now)

    def _show(
        self, before: Published, after: Published, meta: MetaFile, now: datetime
    ) -> Published:
        """Make the new tree visible, unless another has moved it since `before`."""

        def swap(stamp: Timestamp) -> MetaFile:
            self._refuse_moved(before, stamp)
            return meta

        stamp, raw = replace_timestamp(
            self._layout, self._timestamp, now, names=swap, disk=self._disk, step=self._step
        )
        return replace(after, timestamp=stamp, timestamp_raw=raw)

    def _current(self) -> Published:
        """Return the state of the tree. A timestamp that was only refreshed is taken over."""
        if self._published is None:
            self._published = load_published(
                self._layout, self._online.public_key, self._timestamp.public_key
            )
            return self._published
        raw = read_timestamp(self._layout)
        if raw != self._published.timestamp_raw:
            where = str(self._layout.timestamp)
            stamp = read_own(Timestamp, raw, self._timestamp.public_key, where)
            self._refuse_moved(self._published, stamp)
            self._published = replace(self._published, timestamp=stamp, timestamp_raw=raw)
        return self._published

    def _refuse_moved(self, known: Published, stamp: Timestamp) -> None:
        """Refreshing raises the timestamp's version; only another writer changes what it names."""
        if (
            stamp.snapshot_meta != known.timestamp.snapshot_meta
            or stamp.version < known.timestamp.version
        ):
            raise LeaseHeld(
                f"{self._layout.root}: another writer moved the tree from timestamp"
                f" {known.timestamp.version} to {stamp.version}; stop it, then start this again"
            )

    def _present(self, path: str, sha256: str) -> bool:
        if (path, sha256) in self._known:
            return True
        if self._layout.target(path, sha256).is_file():
            self._known.add((path, sha256))
            return True
        return False

    def _read(self, prefix: str, kind: type[T], limit: int) -> Mapping[str, T]:
        with self._disk_errors():
            return self._documents.read(self._current(), prefix, kind, limit)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = os.strerror(error.errno) if error.errno else str(error)
            raise Unavailable(
                f"{error.filename or self._layout.root}: {what}; the tree stays as it was"
            ) from error
