"""The first version of every role: a signed tree that assigns nothing yet."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import MetaFile, Snapshot, Targets, Timestamp

from reconciler.adapters.dir_layout import Layout
from reconciler.adapters.durable import Disk
from reconciler.adapters.tuf_roles import (
    ASSIGNMENTS,
    ONLINE_LASTS,
    RELEASES,
    RoleKeys,
    bin_roles,
    issue,
    new_assignments,
    new_releases,
    new_root,
    new_targets,
    signed_bytes,
    until,
)
from reconciler.errors import Misconfigured
from schemas.canonical import sha256_hex


def found_tree(directory: Path, keys: RoleKeys, disk: Disk, now: datetime) -> bytes:
    """Write version 1 of every role into `directory` and return the bytes of `1.root.json`.

    Devices take that root with their image. Raises Misconfigured when a tree is there, OSError.
    """
    layout = Layout(directory)
    if layout.timestamp.exists():
        raise Misconfigured(f"{directory} holds a published tree already")
    root = signed_bytes(new_root(keys, now), keys.root)
    roles = dict(_first_roles(keys, now))
    snapshot = Snapshot(expires=until(now, ONLINE_LASTS))
    snapshot.meta = {f"{role}.json": MetaFile(1) for role in roles}
    snapshot_raw = signed_bytes(snapshot, [keys.online])
    named = {"sha256": sha256_hex(snapshot_raw)}
    stamp = Timestamp(snapshot_meta=MetaFile(1, len(snapshot_raw), named))
    issue(stamp, now)
    disk.write((layout.metadata(role, 1), raw) for role, raw in roles.items())
    disk.write([(layout.metadata("root", 1), root), (layout.metadata("snapshot", 1), snapshot_raw)])
    disk.write([(layout.timestamp, signed_bytes(stamp, [keys.timestamp]))])
    return root


def _first_roles(keys: RoleKeys, now: datetime) -> Iterator[tuple[str, bytes]]:
    release = [signer.public_key for signer in keys.release]
    yield "targets", signed_bytes(new_targets(keys, now), keys.targets)
    yield RELEASES, signed_bytes(new_releases(release, now), keys.release)
    assignments = new_assignments(keys.online.public_key, now)
    yield ASSIGNMENTS, signed_bytes(assignments, [keys.online])
    for role in bin_roles():
        yield role, signed_bytes(Targets(expires=until(now, ONLINE_LASTS)), [keys.online])
