"""Which device belongs to which fleet, and whether a commit moves too many at once. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.domain import reasons
from reconciler.domain.desired import DeclaredDevice, Desired, FleetIntent
from reconciler.domain.observed import EnrolledDevice
from schemas.selector import Operator, Selector, parse_selector
from schemas.wire.shard import ShardEntry
from schemas.wire.status import FleetStatus

FLEET_DELETED = "FleetDeleted"  # the reason of the Ready condition of a fleet without a file


@dataclass(frozen=True, slots=True, order=True)
class Conflict:
    """A device that could be taken for two: what was done is in `message`, a person should look."""

    name: str
    key: str
    message: str


@dataclass(frozen=True, slots=True)
class Assignments:
    """`entries` by key id are what the shards should hold."""

    entries: Mapping[str, ShardEntry]
    conflicts: tuple[Conflict, ...] = ()


def assign(
    desired: Desired, enrolled: Iterable[EnrolledDevice], published: Mapping[str, ShardEntry]
) -> Assignments:
    """Return an entry for every device that Git declares with a key, and every accepted one.

    A device whose fleet's file was deleted, and that no other fleet selects, stays in that fleet:
    its manifest stays published and tells it to hold still (`planner`). `published` decides who
    owns a name that two keys claim, and remembers public keys that a lost database forgot.
    """
    accepted = {device.key: device for device in enrolled}
    conflicts: list[Conflict] = []
    owners = _owners(desired, accepted, published, conflicts)
    fleets = _Fleets(desired.fleets)
    entries = {}
    for key, name in sorted(owners.items()):
        labels = _labels(desired.devices.get(name), accepted.get(key))
        matching = fleets.matching(labels)
        if len(matching) > 1 and matching[0].priority == matching[1].priority:
            others = ", ".join(fleet.name for fleet in matching)
            conflicts.append(Conflict(name, key, f"{others} select it with the same priority"))
        entries[key] = _entry(
            name,
            _fleet(matching, published.get(key), desired),
            labels,
            desired.devices.get(name),
            accepted.get(key),
            published.get(key),
        )
    return Assignments(entries, tuple(sorted(conflicts)))


def _owners(
    desired: Desired,
    accepted: Mapping[str, EnrolledDevice],
    published: Mapping[str, ShardEntry],
    conflicts: list[Conflict],
) -> Mapping[str, str]:
    """Return key → name; a name has one key: Git's, else the published one, else the first."""
    declared: dict[str, str] = {}
    for name, device in sorted(desired.devices.items()):
        if device.key and declared.setdefault(device.key, name) != name:
            other = declared[device.key]
            conflicts.append(Conflict(name, device.key, f"{other} is declared with the same key"))
    claims: dict[str, list[str]] = defaultdict(list)
    for key in sorted({*declared, *accepted}):
        claims[declared[key] if key in declared else accepted[key].name].append(key)
    owners = {}
    for name, keys in claims.items():
        listed = desired.devices[name].key if name in desired.devices else None
        held = [key for key in keys if key in published and published[key].name == name]
        owner = listed if listed in keys else held[0] if held else keys[0]
        owners[owner] = name
        conflicts += (
            Conflict(name, key, f"the name belongs to {owner}; accept it under another name")
            for key in keys
            if key != owner
        )
    return owners


def _labels(declared: DeclaredDevice | None, enrolled: EnrolledDevice | None) -> dict[str, str]:
    return {
        **(enrolled.labels if enrolled else {}),
        **(declared.labels if declared else {}),
    }


def _fleet(
    matching: tuple[FleetIntent, ...], before: ShardEntry | None, desired: Desired
) -> str | None:
    if matching:
        return matching[0].name
    deleted = before is not None and before.fleet is not None and before.fleet not in desired.fleets
    return before.fleet if before and deleted else None


def _entry(
    name: str,
    fleet: str | None,
    labels: Mapping[str, str],
    declared: DeclaredDevice | None,
    enrolled: EnrolledDevice | None,
    before: ShardEntry | None,
) -> ShardEntry:
    known = (enrolled.public_key if enrolled else None) or (before.public_key if before else None)
    return ShardEntry(
        name=name,
        fleet=fleet,
        labels=labels,
        public_key=known,
        vars=declared.vars if declared else {},
        pin=declared.pin if declared else {},
        hold=declared.hold if declared else None,
        secrets=before.secrets if before else {},
    )


class _Fleets:
    """Finds the fleets of a device without trying every selector: each is filed under the label
    values of one requirement that it cannot do without."""

    def __init__(self, fleets: Mapping[str, FleetIntent]) -> None:
        self._filed: dict[tuple[str, str], list[tuple[Selector, FleetIntent]]] = defaultdict(list)
        self._others: list[tuple[Selector, FleetIntent]] = []
        for _, fleet in sorted(fleets.items()):
            selector = parse_selector(fleet.selector)
            sure = next((r for r in selector.requirements if r.operator is Operator.IN), None)
            for value in sorted(set(sure.values)) if sure else ():
                self._filed[sure.key if sure else "", value].append((selector, fleet))
            if sure is None:
                self._others.append((selector, fleet))

    def matching(self, labels: Mapping[str, str]) -> tuple[FleetIntent, ...]:
        """Return the fleets that select `labels`: highest priority first, then by name."""
        candidates = [*self._others]
        for label in labels.items():
            candidates += self._filed.get(label, ())
        found = [fleet for selector, fleet in candidates if selector.matches(labels)]
        return tuple(sorted(found, key=lambda fleet: (-fleet.priority, fleet.name)))


def guard(
    desired: Desired,
    published: Mapping[str, ShardEntry],
    entries: Mapping[str, ShardEntry],
    statuses: Mapping[str, FleetStatus],
) -> str | None:
    """Return why this plan must not be published, or None; then the last good one stays.

    Only devices that were published count, so the first plan of a tree and new devices never do.
    """
    limits = desired.guards
    leaving = _leaving(desired, published, entries, statuses)
    if limits.max_devices_leaving_fleet is not None and leaving > limits.max_devices_leaving_fleet:
        return (
            f"{reasons.devices(leaving)} would leave their fleet,"
            f" maxDevicesLeavingFleet is {limits.max_devices_leaving_fleet}"
        )
    changed = _changed(desired, published, entries, statuses)
    if limits.max_devices_per_commit is not None and changed > limits.max_devices_per_commit:
        return (
            f"{reasons.devices(changed)} would change,"
            f" maxDevicesPerCommit is {limits.max_devices_per_commit}"
        )
    return None


def is_deleted(status: FleetStatus) -> bool:
    """Say whether the fleet was published as deleted already."""
    return any(condition.reason == FLEET_DELETED for condition in status.conditions)


def _leaving(
    desired: Desired,
    published: Mapping[str, ShardEntry],
    entries: Mapping[str, ShardEntry],
    statuses: Mapping[str, FleetStatus],
) -> int:
    """Count devices that go to another fleet or to none, and those whose fleet's file goes."""
    going = {
        name
        for name, status in statuses.items()
        if name not in desired.fleets and not is_deleted(status)
    }
    return sum(
        before.fleet is not None
        and key in entries
        and (entries[key].fleet != before.fleet or before.fleet in going)
        for key, before in published.items()
    )


def _changed(
    desired: Desired,
    published: Mapping[str, ShardEntry],
    entries: Mapping[str, ShardEntry],
    statuses: Mapping[str, FleetStatus],
) -> int:
    """Count devices whose fleet or pin changes, or whose fleet is asked for another set."""
    moving = {
        name
        for name, fleet in desired.fleets.items()
        if name in statuses and statuses[name].desired != fleet.content.id
    }
    return sum(
        key in entries
        and (
            entries[key].fleet != before.fleet
            or entries[key].pin != before.pin
            or before.fleet in moving
        )
        for key, before in published.items()
    )
