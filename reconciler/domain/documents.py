"""Which documents the published tree holds for a plan, and what they bring back. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.domain.desired import Desired
from reconciler.domain.observed import EnrolledDevice
from reconciler.domain.planner import Plan
from schemas.canonical import shard_of
from schemas.wire.decode import encode
from schemas.wire.manifest import Manifest
from schemas.wire.project import MAX_LINE, MAX_PROBLEMS, ProjectStatus
from schemas.wire.shard import Shard, ShardEntry
from schemas.wire.status import Condition
from schemas.wire.types import ComponentRef


@dataclass(frozen=True, slots=True)
class Attempted:
    """The newest commit that was looked at, and what was wrong with it."""

    commit: str
    problems: tuple[str, ...]
    since: datetime


def documents(
    desired: Desired,
    planned: Plan,
    entries: Mapping[str, ShardEntry],
    before: Plan,
    published: Mapping[str, ShardEntry],
) -> Mapping[str, bytes]:
    """Return target paths and bytes of what changed since `before` and `published`: manifests,
    statuses, shards; and the descriptors that are in use.

    A shard that lost its last entry (it is in `published` only) becomes an empty one.
    """
    manifests, statuses = planned.manifests, planned.statuses
    fleets = {name: doc for name, doc in manifests.items() if before.manifests.get(name) != doc}
    told = {name: doc for name, doc in statuses.items() if before.statuses.get(name) != doc}
    return {
        **{f"fleets/{name}.json": encode(doc) for name, doc in fleets.items()},
        **{f"status/{name}.json": encode(doc) for name, doc in told.items()},
        **{f"devices/{name}.json": encode(doc) for name, doc in shards(entries, published).items()},
        **_descriptors(desired, planned, entries),
    }


def shards(
    entries: Mapping[str, ShardEntry], published: Mapping[str, ShardEntry]
) -> Mapping[str, Shard]:
    """Return the shards that hold other `entries` than `published`, by their 3 hex digits."""
    keys = entries.keys() | published.keys()
    changed = {shard_of(key) for key in keys if entries.get(key) != published.get(key)}
    grouped: dict[str, dict[str, ShardEntry]] = {name: {} for name in changed}
    for key, entry in entries.items():
        if (name := shard_of(key)) in changed:
            grouped[name][key] = entry
    return {name: Shard(members) for name, members in grouped.items()}


def project_status(
    project: str | None,
    commit: str | None,
    attempted: Attempted,
    conditions: Iterable[Condition],
) -> ProjectStatus:
    """Return what `project.json` says, cut so that it fits. `commit` is the last good one."""
    lines = [_cut(line) for line in attempted.problems[:MAX_PROBLEMS]]
    left_out = len(attempted.problems) - len(lines)
    if left_out:
        lines[-1] = f"… and {left_out + 1} more"
    return ProjectStatus(
        attempted=attempted.commit,
        since=attempted.since,
        project=project,
        commit=commit,
        conditions=tuple(replace(each, message=_cut(each.message)) for each in conditions),
        problems=tuple(lines),
    )


def lost(
    published: Mapping[str, ShardEntry], enrolled: Iterable[EnrolledDevice]
) -> Mapping[str, ShardEntry]:
    """Return the published entries of devices that had joined and that the store has not accepted:
    its database was lost, or a person rejected them since."""
    accepted = {device.key for device in enrolled}
    return {
        key: entry
        for key, entry in published.items()
        if entry.public_key is not None and key not in accepted
    }


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 1]}…"


def _descriptors(
    desired: Desired, planned: Plan, entries: Mapping[str, ShardEntry]
) -> Mapping[str, bytes]:
    """Return the descriptors that a manifest or a pin names and that this commit still has.

    Those of older commits were published with them and stay in the tree.
    """
    used = {ref for manifest in planned.manifests.values() for ref in _named(manifest)}
    used |= {ref for entry in entries.values() for ref in entry.pin.values()}
    return {
        f"releases/{ref.name}/{ref.version}.json": encode(desired.descriptors[ref.release])
        for ref in used
        if ref.release in desired.descriptors
        and desired.descriptors[ref.release].digest == ref.descriptor
    }


def _named(manifest: Manifest) -> tuple[ComponentRef, ...]:
    sets = (manifest.next, manifest.stable)
    return tuple(ref for one in sets if one for ref in one.components.values())
