"""Builders of what a reconciler publishes: one small fleet, its release, and its device."""

from dataclasses import replace

from schemas.canonical import shard_of
from schemas.wire.descriptor import ROOTFS_AB, Artifact, Descriptor, Encoding, Scope
from schemas.wire.manifest import Manifest, Stable
from schemas.wire.shard import Shard, ShardEntry
from schemas.wire.status import FleetStatus
from schemas.wire.types import ComponentRef, ComponentSet
from tests.support.documents import COMMIT, KEY, NOW, STATUS

SHARD_PATH = f"devices/{shard_of(KEY)}.json"


def descriptor_of(version: str, *, epoch: int = 0) -> Descriptor:
    artifact = Artifact("", "a1" * 32, 10, 10, Encoding.RAW)
    return Descriptor("kiosk-os", version, ROOTFS_AB, Scope.SLOT, epoch, (artifact,))


def ref_of(descriptor: Descriptor) -> ComponentRef:
    return ComponentRef(descriptor.release, descriptor.digest)


def manifest_of(fleet: str, generation: int, descriptor: Descriptor | None = None) -> Manifest:
    """Return a manifest whose stable set is `descriptor`, or that sends nothing."""
    content = ComponentSet({"os": ref_of(descriptor)}) if descriptor else None
    stable = Stable(content.id, 1, content.components, {}, {}) if content else None
    return Manifest(fleet, generation, COMMIT, NOW, None, 60, 60, (), 1, None, stable, ())


def status_of(fleet: str, generation: int) -> FleetStatus:
    return replace(STATUS, fleet=fleet, generation=generation)


def shard_with(entry: ShardEntry) -> Shard:
    return Shard({KEY: entry})
