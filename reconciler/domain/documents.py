"""Which documents the published tree holds for a plan. Pure."""

from collections.abc import Mapping

from reconciler.domain.desired import Desired
from reconciler.domain.planner import Plan
from schemas.canonical import shard_of
from schemas.wire.decode import encode
from schemas.wire.manifest import Manifest
from schemas.wire.project import ProjectStatus
from schemas.wire.shard import Shard, ShardEntry
from schemas.wire.types import ComponentRef


def documents(
    desired: Desired,
    planned: Plan,
    entries: Mapping[str, ShardEntry],
    published: Mapping[str, ShardEntry],
    project: ProjectStatus,
) -> Mapping[str, bytes]:
    """Return target paths and bytes: manifests, statuses, shards, used descriptors, the project.

    A shard that lost its last entry (it is in `published` only) becomes an empty one.
    """
    return {
        "project.json": encode(project),
        **{f"fleets/{name}.json": encode(doc) for name, doc in planned.manifests.items()},
        **{f"status/{name}.json": encode(doc) for name, doc in planned.statuses.items()},
        **{f"devices/{name}.json": encode(doc) for name, doc in shards(entries, published).items()},
        **_descriptors(desired, planned, entries),
    }


def shards(
    entries: Mapping[str, ShardEntry], published: Mapping[str, ShardEntry]
) -> Mapping[str, Shard]:
    """Return the shards that hold `entries` or held `published`, by their 3 hex digits."""
    grouped: dict[str, dict[str, ShardEntry]] = {shard_of(key): {} for key in published}
    for key, entry in entries.items():
        grouped.setdefault(shard_of(key), {})[key] = entry
    return {name: Shard(members) for name, members in grouped.items()}


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
