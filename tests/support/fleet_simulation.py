"""A fleet in memory: commits go in, the planner plans, devices resolve, install and report.

Everything that is published goes through its wire encoding and back, as in life.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fractions import Fraction

from reconciler.domain.assignment import Assignments, assign
from reconciler.domain.desired import (
    DEFAULT_POLICY,
    DeclaredDevice,
    Desired,
    FleetIntent,
    Gate,
    Guards,
    OnFailure,
    Policy,
    Stage,
)
from reconciler.domain.observed import EnrolledDevice, Observed, Seen
from reconciler.domain.planner import Hints, Plan, plan
from schemas.canonical import sha256_hex
from schemas.resolve import Action, DeviceView, Running, Target, resolve
from schemas.wire.decode import decode, encode
from schemas.wire.descriptor import Artifact, Descriptor, Encoding, Scope
from schemas.wire.manifest import Manifest
from schemas.wire.shard import Hold, ShardEntry
from schemas.wire.status import FleetStatus, Rollout, StageCounts
from schemas.wire.types import ComponentRef, ComponentSet

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FLEET = "kiosks"


def a_release(version: str, *, epoch: int = 0, compatible: str = "") -> Descriptor:
    return Descriptor(
        name="kiosk-os",
        version=version,
        installer="rootfs-ab",
        scope=Scope.SLOT,
        epoch=epoch,
        artifacts=(Artifact(compatible, "a" * 64, 1, 1, Encoding.RAW),),
    )


def a_set(version: str, *, epoch: int = 0, compatible: str = "") -> ComponentSet:
    release = a_release(version, epoch=epoch, compatible=compatible)
    return ComponentSet({"os": ComponentRef(release.release, release.digest)})


def stages(*stages: Stage, on_failure: OnFailure = OnFailure.PAUSE) -> Policy:
    return Policy("test", stages, on_failure)


def everybody(name: str = "all", **changes: object) -> Stage:
    return replace(Stage(name, percent=Fraction(100)), **changes)  # type: ignore[arg-type]  # fields by name


def a_gate(success: int = 100, *, min_finished: int = 1, min_coverage: int = 100) -> Gate:
    """Return a gate; `success` and `min_coverage` in percent."""
    return Gate(Fraction(success, 100), min_finished, Fraction(min_coverage, 100))


def a_commit(text: str) -> str:
    return sha256_hex(text.encode())[:40]


def key_of(name: str) -> str:
    return "sha256:" + sha256_hex(name.encode())


class Ending(StrEnum):
    """How a simulated attempt ends. GONE: it starts and is never heard of again."""

    OK = "ok"
    FAILED = "failed"
    NEUTRAL = "neutral"
    GONE = "gone"


@dataclass
class SimulatedDevice:
    name: str
    labels: Mapping[str, str]
    facts: Mapping[str, str] = field(default_factory=dict)
    online: bool = True
    running: Running | None = None
    failed: dict[str, int] = field(default_factory=dict)
    seen: Seen | None = None

    @property
    def key(self) -> str:
        return key_of(self.name)

    @property
    def set(self) -> str | None:
        return self.running.set if self.running else None


class FleetSimulation:
    """One fleet (more by `desire`), its published documents, and what the gateway counted."""

    def __init__(self, policy: Policy = DEFAULT_POLICY, *, devices: int = 0) -> None:
        self.now = NOON
        self.policy = policy
        self.devices: dict[str, SimulatedDevice] = {}
        self.endings: dict[tuple[str | None, str], Ending] = {}  # (device or None, set)
        self.entries: Mapping[str, ShardEntry] = {}
        self.statuses: Mapping[str, FleetStatus] = {}
        self.manifests: Mapping[str, Manifest] = {}
        self.counts: dict[str, dict[str, StageCounts]] = defaultdict(dict)
        self.desired = Desired(a_commit("empty"), "test", {}, {}, {})
        for number in range(1, devices + 1):
            self.add(f"kiosk-{number:04}")

    # What people do

    def add(self, name: str, **labels: str) -> SimulatedDevice:
        self.devices[name] = SimulatedDevice(name, {"product": "kiosk", **labels})
        return self.devices[name]

    def commit(self, version: str, *, epoch: int = 0, compatible: str = "") -> ComponentSet:
        """Let Git ask for a version of the one component that this fleet has."""
        content = a_set(version, epoch=epoch, compatible=compatible)
        release = a_release(version, epoch=epoch, compatible=compatible)
        suspended = self.intent.suspended if FLEET in self.desired.fleets else None
        intent = FleetIntent(FLEET, "product=kiosk", 0, content, self.policy, suspended)
        descriptors = {**self.desired.descriptors, release.release: release}
        self.desire(fleets={FLEET: intent}, descriptors=descriptors)
        return content

    def desire(self, **changes: object) -> None:
        """Commit other changes to Desired."""
        text = f"{self.desired.commit} {sorted(changes)}"
        changed: Desired = replace(self.desired, commit=a_commit(text), **changes)  # type: ignore[arg-type]  # fields by name
        self.desired = changed

    def intend(self, **changes: object) -> None:
        """Commit changes to the fleet's document."""
        changed: FleetIntent = replace(self.intent, **changes)  # type: ignore[arg-type]  # fields by name
        self.policy = changed.policy
        self.desire(fleets={**self.desired.fleets, FLEET: changed})

    def suspend(self, reason: str | None) -> None:
        self.intend(suspended=reason)

    def declare(
        self,
        name: str,
        *,
        hold: Hold | None = None,
        pin: Mapping[str, ComponentRef] | None = None,
        **labels: str,
    ) -> None:
        declared = DeclaredDevice(name, None, labels, pin=pin or {}, hold=hold)
        self.desire(devices={**self.desired.devices, name: declared})

    # What the reconciler does

    def plan(self, hints: Hints | None = None) -> Plan:
        """Plan once and publish."""
        self.entries = self.assignments.entries
        planned = plan(
            self.desired,
            self.entries,
            self.observed,
            self.statuses,
            self.manifests,
            hints or Hints(),
            self.now,
        )
        self.manifests = {n: decode(Manifest, encode(m)) for n, m in planned.manifests.items()}
        self.statuses = {n: decode(FleetStatus, encode(s)) for n, s in planned.statuses.items()}
        return planned

    @property
    def assignments(self) -> Assignments:
        return assign(self.desired, self.observed.enrolled, self.entries)

    @property
    def observed(self) -> Observed:
        running: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for device in self.devices.values():
            entry = self.entries.get(device.key)
            if entry and entry.fleet and device.seen and device.seen.running:
                running[entry.fleet][device.seen.running] += 1
        return Observed(
            enrolled=tuple(
                EnrolledDevice(d.name, d.key, None, d.labels) for d in self.devices.values()
            ),
            seen={d.key: d.seen for d in self.devices.values() if d.seen},
            counts={rollout: dict(stages) for rollout, stages in self.counts.items()},
            running={fleet: dict(sets) for fleet, sets in running.items()},
        )

    # What devices do

    def heartbeats(self) -> None:
        for device in self.devices.values():
            if device.online:
                device.seen = Seen(self.now, device.set, device.facts)

    def target(self, device: SimulatedDevice) -> Target | None:
        """Return what the published documents tell the device, or None without any."""
        entry = self.entries.get(device.key)
        manifest = self.manifests.get(entry.fleet) if entry and entry.fleet else None
        if manifest is None:
            return None
        return resolve(manifest, entry, DeviceView(device.running, device.failed), self.now)

    def act(self, device: SimulatedDevice) -> Target | None:
        """Let one device do what it is told, and report how that ended."""
        target = self.target(device)
        if not device.online or target is None or target.action is Action.STAY:
            return target
        assert target.set is not None and target.content is not None
        ending = self.endings.get((device.name, target.set)) or self.endings.get(
            (None, target.set), Ending.OK
        )
        match ending:
            case Ending.OK:
                device.running = Running(target.set, target.content)
            case Ending.FAILED:
                device.failed[target.set] = target.attempt
            case Ending.GONE:
                device.online = False
        if target.rollout and target.stage:
            self.count(target.rollout, target.stage, ending)
        if device.online:
            device.seen = Seen(self.now, device.set, device.facts)
        return target

    def count(self, rollout: str, stage: str, ending: Ending) -> None:
        """Count one attempt; a device that is gone is overdue at once."""
        old = self.counts[rollout].get(stage, StageCounts())
        failures = dict(old.failures)
        if ending is Ending.FAILED:
            failures["healthcheck"] = failures.get("healthcheck", 0) + 1
        self.counts[rollout][stage] = replace(
            old,
            started=old.started + 1,
            ok=old.ok + (ending is Ending.OK),
            failed=old.failed + (ending is Ending.FAILED),
            neutral=old.neutral + (ending is Ending.NEUTRAL),
            overdue=old.overdue + (ending is Ending.GONE),
            failures=failures,
        )

    def round(self, minutes: int = 1) -> None:
        """Let time pass: everybody reports, the reconciler plans, everybody acts."""
        self.now += timedelta(minutes=minutes)
        self.heartbeats()
        self.plan()
        for device in self.devices.values():
            self.act(device)

    def settle(self, rounds: int = 20) -> None:
        for _ in range(rounds):
            self.round()

    # What people see

    @property
    def intent(self) -> FleetIntent:
        return self.desired.fleets[FLEET]

    @property
    def status(self) -> FleetStatus:
        return self.statuses[FLEET]

    @property
    def manifest(self) -> Manifest:
        return self.manifests[FLEET]

    @property
    def rollout(self) -> Rollout:
        assert self.status.rollout is not None
        return self.status.rollout

    def on(self, content: ComponentSet) -> list[str]:
        """Return the names of the devices that run `content`."""
        return sorted(d.name for d in self.devices.values() if d.set == content.id)

    def condition(self, type: str) -> tuple[bool, str, str]:
        found = next(one for one in self.status.conditions if one.type == type)
        return found.status, found.reason, found.message

    def decisions(self) -> list[str]:
        return [decision.kind for decision in self.status.decisions]


def names(numbers: Iterable[int]) -> list[str]:
    return [f"kiosk-{number:04}" for number in numbers]


__all__ = [
    "FLEET",
    "NOON",
    "Ending",
    "FleetSimulation",
    "Guards",
    "SimulatedDevice",
    "a_commit",
    "a_gate",
    "a_release",
    "a_set",
    "everybody",
    "key_of",
    "names",
    "stages",
]
