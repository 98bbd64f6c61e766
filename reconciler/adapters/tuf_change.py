"""What a publication changes in the tree, decided before anything is written. Pure."""

import re
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tuf.api.metadata import MetaFile, Snapshot, TargetFile, Targets

from reconciler.adapters.tuf_published import Published, SignedRole
from reconciler.adapters.tuf_releases import accept_releases, released
from reconciler.adapters.tuf_roles import (
    ASSIGNMENTS,
    ONLINE_LASTS,
    RENEW_BEFORE,
    TIMESTAMP_EVERY,
    TIMESTAMP_LASTS,
    bin_of,
    until,
)
from reconciler.errors import CommitRefused, NotSigned
from reconciler.ports import Publication
from schemas.canonical import sha256_hex
from schemas.refusal import Refusal
from schemas.wire.decode import decode
from schemas.wire.manifest import MANIFEST_LIMIT, Manifest
from schemas.wire.shard import SHARD_LIMIT, Shard
from schemas.wire.status import STATUS_LIMIT
from schemas.wire.types import ComponentRef

_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?"
_ASSIGNED = re.compile(rf"(?:fleets|devices|status)/{_NAME}\.json|project\.json")
_RELEASE = re.compile(rf"releases/{_NAME}/[A-Za-z0-9][A-Za-z0-9._+~-]{{0,127}}\.json")

Present = Callable[[str, str], bool]
"""Whether the document at a target path with this SHA-256 lies in the tree already."""


@dataclass(frozen=True, slots=True)
class Change:
    """The next state, and what must be written to reach it. Metadata in it is not signed yet.

    `documents` by (target path, SHA-256). `timestamp` says that it must be signed anew, which it
    is also for a new snapshot. `after` has the old timestamp still.
    """

    documents: Mapping[tuple[str, str], bytes]
    releases: Mapping[str, SignedRole]
    bins: Mapping[str, Targets]
    assignments: Targets | None
    snapshot: Snapshot | None
    timestamp: bool
    after: Published

    @property
    def empty(self) -> bool:
        return not (self.documents or self.snapshot or self.timestamp)


def change_for(
    published: Published, publication: Publication, present: Present, now: datetime
) -> Change:
    """Return what to write so that the tree holds `publication`.

    Raises NotSigned for a release that no release key signed, and CommitRefused for a document
    that devices would refuse.
    """
    accepted = accept_releases(published, publication.releases, now)
    listed = released(accepted)
    assigned = _changed(published, publication.documents)
    descriptors = _descriptors(publication.documents, listed, present)
    for path, data in assigned.items():
        for ref in _references(path, data):
            _check_signed(path, ref, listed, descriptors, present)
    bins = _new_bins(published.bins, assigned, now)
    renewed = _renewed(published.assignments, now)
    releases = {
        role: signed
        for role, signed in accepted.items()
        if signed is not published.releases.get(role)
    }
    versions = {role: signed.targets.version for role, signed in releases.items()}
    versions |= {role: targets.version for role, targets in bins.items()}
    if renewed:
        versions[ASSIGNMENTS] = renewed.version
    snapshot = _new_snapshot(published.snapshot, versions, now)
    return Change(
        documents={
            **{(path, sha256_hex(data)): data for path, data in assigned.items()},
            **descriptors,
        },
        releases=releases,
        bins=bins,
        assignments=renewed,
        snapshot=snapshot,
        timestamp=snapshot is not None
        or _left(published.timestamp.expires, now) <= TIMESTAMP_LASTS - TIMESTAMP_EVERY,
        after=replace(
            published,
            releases=accepted,
            bins={**published.bins, **bins},
            assignments=renewed or published.assignments,
            snapshot=snapshot or published.snapshot,
        ),
    )


def _changed(published: Published, documents: Mapping[str, bytes]) -> Mapping[str, bytes]:
    changed = {}
    for path, data in documents.items():
        if _RELEASE.fullmatch(path):
            continue
        if not _ASSIGNED.fullmatch(path):
            raise ValueError(f"{path!r} is no place for a document")
        if path.startswith("status/") and len(data) > STATUS_LIMIT:
            # It is the planner's memory: what cannot be read back would stop every later plan.
            raise CommitRefused(f"{path}: {len(data)} bytes, at most {STATUS_LIMIT} are read back")
        if published.digest_of(path, bin_of(path)) != sha256_hex(data):
            changed[path] = data
    return changed


def _descriptors(
    documents: Mapping[str, bytes], listed: Mapping[str, str], present: Present
) -> Mapping[tuple[str, str], bytes]:
    """Return the signed descriptors that are not there yet; unsigned ones are nobody's business."""
    return {
        (path, listed[path]): data
        for path, data in documents.items()
        if path in listed and sha256_hex(data) == listed[path] and not present(path, listed[path])
    }


def _references(path: str, data: bytes) -> Iterable[ComponentRef]:
    """Return every release that the document at `path` sends to devices."""
    try:
        if path.startswith("fleets/"):
            manifest = decode(Manifest, data, limit=MANIFEST_LIMIT)
            wanted = [part for part in (manifest.next, manifest.stable) if part]
            return [ref for part in wanted for ref in part.components.values()]
        if path.startswith("devices/"):
            shard = decode(Shard, data, limit=SHARD_LIMIT)
            return [ref for entry in shard.entries.values() for ref in entry.pin.values()]
    except Refusal as error:
        raise CommitRefused(f"{path}: devices would refuse it: {error}") from error
    return ()


def _check_signed(
    path: str,
    ref: ComponentRef,
    listed: Mapping[str, str],
    descriptors: Mapping[tuple[str, str], bytes],
    present: Present,
) -> None:
    target, wanted = f"releases/{ref.name}/{ref.version}.json", ref.descriptor[len("sha256:") :]
    signed = listed.get(target)
    if signed is None:
        raise NotSigned(
            f"{ref.release} (named by {path}) is signed by no release key; run"
            f" `fleetcd release add {ref.name} {ref.version} FILE` and commit releases/"
        )
    if signed != wanted:
        raise NotSigned(
            f"{ref.release} (named by {path}) is not what was signed: its YAML has the digest"
            f" {wanted[:12]}…, the signature is over {signed[:12]}…; restore the signed"
            " YAML, or release a new version"
        )
    if (target, signed) not in descriptors and not present(target, signed):
        raise NotSigned(
            f"{ref.release} (named by {path}) is signed, but its descriptor is neither published"
            f" nor in Git; restore releases/{ref.name}/{ref.version}.yaml"
        )


def _new_bins(
    bins: Mapping[str, Targets], changed: Mapping[str, bytes], now: datetime
) -> Mapping[str, Targets]:
    fresh: dict[str, dict[str, TargetFile]] = {}
    for path, data in changed.items():
        target = TargetFile.from_data(path, data, ["sha256"])
        fresh.setdefault(bin_of(path), {})[path] = target
    result = {}
    for role, old in bins.items():
        if role in fresh or _left(old.expires, now) < RENEW_BEFORE:
            new = _next(old, now)
            new.targets = {**old.targets, **fresh.get(role, {})}
            result[role] = new
    return result


def _renewed(assignments: Targets, now: datetime) -> Targets | None:
    return _next(assignments, now) if _left(assignments.expires, now) < RENEW_BEFORE else None


def _next(old: Targets, now: datetime) -> Targets:
    new = copy(old)
    new.version = old.version + 1
    new.expires = until(now, ONLINE_LASTS)
    return new


def _new_snapshot(old: Snapshot, versions: Mapping[str, int], now: datetime) -> Snapshot | None:
    if not versions and _left(old.expires, now) >= RENEW_BEFORE:
        return None
    new = copy(old)
    new.version = old.version + 1
    new.expires = until(now, ONLINE_LASTS)
    new.meta = {**old.meta, **{f"{role}.json": MetaFile(v) for role, v in versions.items()}}
    return new


def _left(expires: datetime, now: datetime) -> timedelta:
    return expires - now
