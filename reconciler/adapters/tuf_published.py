"""What the tree holds: read back, verified, and kept as a value that changes are applied to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from reconciler.adapters.dir_layout import Layout, read_limited
from reconciler.adapters.tuf_roles import (
    ASSIGNMENTS,
    RELEASE_PREFIX,
    RELEASES,
    bin_roles,
    read_own,
    snapshot_versions,
)
from reconciler.errors import Misconfigured, NotSigned, Unavailable
from schemas.canonical import sha256_hex
from schemas.delegation import check_delegation
from schemas.refusal import Refusal

MAX_ROOTS = 1024

_RELEASE_ROLE = re.compile(r"releases(?:-[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?)?")


@dataclass(frozen=True, slots=True)
class SignedRole:
    """Metadata that others signed, with the bytes as they came."""

    targets: Targets
    raw: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """One state of the tree. Never changed: a change makes a new one of it.

    `releases` by role name; `bins` by role name; `timestamp_raw` are the bytes on the disk,
    by which a tree that another process moved is noticed.
    """

    targets: Targets
    releases: Mapping[str, SignedRole]
    assignments: Targets
    bins: Mapping[str, Targets]
    snapshot: Snapshot
    timestamp: Timestamp
    timestamp_raw: bytes

    def digest_of(self, path: str, bin_role: str) -> str | None:
        """Return the SHA-256 of the assigned document at `path`, or None."""
        found = self.bins[bin_role].targets.get(path)
        return found.hashes["sha256"] if found else None

    @property
    def assigned(self) -> Mapping[str, str]:
        """Return the SHA-256 of every assigned document by target path."""
        return {
            path: target.hashes["sha256"]
            for bin in self.bins.values()
            for path, target in bin.targets.items()
        }


def load_published(layout: Layout, online: Key, timestamp: Key) -> Published:
    """Return the tree in `layout` as its timestamp names it.

    Raises Misconfigured when there is none, Unavailable when it is damaged or not ours, NotSigned
    for delegations that devices refuse.
    """
    raw = read_timestamp(layout)
    stamp = read_own(Timestamp, raw, timestamp, str(layout.timestamp))
    snapshot = _snapshot(layout, stamp, online)
    versions = snapshot_versions(snapshot)
    targets = _targets(layout, versions["targets"])

    def own(role: str) -> Targets:
        path = layout.metadata(role, versions[role])
        return read_own(Targets, read_limited(path), online, str(path))

    return Published(
        targets=targets,
        releases=_releases(layout, versions, targets),
        assignments=own(ASSIGNMENTS),
        bins={role: own(role) for role in bin_roles()},
        snapshot=snapshot,
        timestamp=stamp,
        timestamp_raw=raw,
    )


def read_timestamp(layout: Layout) -> bytes:
    try:
        return read_limited(layout.timestamp)
    except FileNotFoundError as error:
        raise Misconfigured(
            f"{layout.root} holds no published tree; make one with `fleetcd init`"
        ) from error


def _snapshot(layout: Layout, stamp: Timestamp, online: Key) -> Snapshot:
    path = layout.metadata("snapshot", stamp.snapshot_meta.version)
    data = read_limited(path)
    if stamp.snapshot_meta.hashes != {"sha256": sha256_hex(data)}:
        raise Unavailable(f"{path} is not the one that timestamp.json names; restore it")
    return read_own(Snapshot, data, online, str(path))


def read_targets(layout: Layout) -> Targets:
    """Return the newest top-level targets metadata. Raises Unavailable, OSError."""
    versions = [
        int(file.name.partition(".")[0]) for file in layout.timestamp.parent.glob("*.targets.json")
    ]
    return _targets(layout, max(versions, default=1))


def _targets(layout: Layout, version: int) -> Targets:
    root = newest_root(layout)
    path = layout.metadata("targets", version)
    return verified(root, "targets", read_limited(path), str(path)).targets


def newest_root(layout: Layout) -> Root:
    """Return the root metadata with the highest version.

    Raises Unavailable, OSError, NotSigned for keys that devices refuse.
    """
    path = layout.metadata("root", 1)
    for version in range(2, MAX_ROOTS):
        newer = layout.metadata("root", version)
        if not newer.is_file():
            break
        path = newer
    try:
        root = Metadata[Root].from_bytes(read_limited(path)).signed
    except RepositoryError as error:
        raise Unavailable(f"{path} is damaged; restore it from a copy") from error
    refuse_delegation(root, str(path))
    return root


def _releases(
    layout: Layout, versions: Mapping[str, int], targets: Targets
) -> Mapping[str, SignedRole]:
    def load(role: str, parent: Targets) -> SignedRole:
        path = layout.metadata(role, versions[role])
        return verified(parent, role, read_limited(path), str(path))

    top = load(RELEASES, targets)
    roles = [role for role in versions if role.startswith(RELEASE_PREFIX)]
    return {RELEASES: top} | {role: load(role, top.targets) for role in roles}


def verified(parent: Root | Targets, role: str, data: bytes, where: str) -> SignedRole:
    """Return the targets metadata in `data`, signed as `parent` demands of `role`.

    Raises Unavailable: the caller knows whether a person must sign again. Raises NotSigned for
    delegations that devices refuse.
    """
    try:
        metadata = Metadata[Targets].from_bytes(data)
        parent.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise Unavailable(f"{where}: {error}") from error
    if not isinstance(metadata.signed, Targets):
        raise Unavailable(f"{where}: not targets metadata")
    refuse_delegation(metadata.signed, where)
    return SignedRole(metadata.signed, data)


def refuse_delegation(signed: Root | Targets, where: str) -> None:
    """Raise NotSigned for delegations that devices refuse: tuf counts one key under two ids twice
    towards a threshold, so that its holder alone would meet a threshold of two."""
    try:
        check_delegation(signed.to_dict())
    except Refusal as error:
        raise NotSigned(f"{where}: {error}; correct the keys and sign it again") from error


def is_release_role(role: str) -> bool:
    return _RELEASE_ROLE.fullmatch(role) is not None


def read_release_files(directory: Path | None) -> Mapping[str, bytes]:
    """Return the published release metadata by file name without version, unverified.

    None, or a directory without a tree, publishes nothing. Raises OSError, Unavailable.
    """
    if directory is None or not (layout := Layout(directory)).timestamp.is_file():
        return {}
    try:
        stamp = Metadata[Timestamp].from_bytes(read_timestamp(layout)).signed
        file = layout.metadata("snapshot", stamp.snapshot_meta.version)
        versions = snapshot_versions(Metadata[Snapshot].from_bytes(read_limited(file)).signed)
    except RepositoryError as error:
        raise Unavailable(f"{directory}: {error}; restore the tree from a copy") from error
    return {
        f"{role}.json": read_limited(layout.metadata(role, version))
        for role, version in versions.items()
        if is_release_role(role)
    }
