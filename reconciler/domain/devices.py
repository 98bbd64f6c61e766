"""What is remembered of a device key, and who may join under which name. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from schemas.wire.report import EnrolState
from schemas.wire.shard import ShardEntry

WAITING = (EnrolState.PENDING, EnrolState.CONFLICT)  # for a person's decision


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest heartbeat. `components` maps a component to its release."""

    at: datetime
    running: str | None = None
    components: Mapping[str, str] = field(default_factory=dict)
    state: str = ""
    agent: str = ""
    waiting: str = ""
    timestamp_version: int = 0
    clock_trusted: bool = True
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Device:
    """One device key. `assigned` labels come from enrolment, `labels` are these with Git's on top.

    `journal` and `last_seq` are where the device's reports are; `resync_asks` is how often it may
    still be asked to repeat its last outcome.
    """

    key: str
    name: str
    public_key: str | None
    state: EnrolState
    enrolled_at: datetime
    assigned: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    fleet: str | None = None
    heard: Heard | None = None
    last_seen: datetime | None = None
    journal: str | None = None
    last_seq: int = 0
    resync_asks: int = 2

    @property
    def running(self) -> str | None:
        return self.heard.running if self.heard else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who asks to be enrolled; possession of the key is proven."""

    key: str
    name: str
    public_key: str


def judge_candidate(
    candidate: Candidate,
    known: Device | None,
    *,
    listed_as: str | None,
    holders: frozenset[str],
    now: datetime,
) -> Device:
    """Return the device as it is after the request.

    `listed_as` is the name that Git gives to this very key; `holders` are other keys to which the
    name belongs (accepted, listed in Git, or published). A name is never taken from its holder.
    """
    if known and known.state in (EnrolState.ACCEPTED, EnrolState.REJECTED):
        return known
    name = listed_as or candidate.name
    if holders:
        state = EnrolState.CONFLICT
    else:
        state = EnrolState.ACCEPTED if listed_as else EnrolState.PENDING
    if known:
        return replace(known, name=name, state=state)
    return Device(candidate.key, name, candidate.public_key, state, enrolled_at=now)


def with_entry(device: Device, entry: ShardEntry | None) -> Device:
    """Return the device with what is published about it: its fleet, its name and Git's labels."""
    if entry is None:
        return replace(device, fleet=None, labels=dict(device.assigned))
    labels = {**device.assigned, **entry.labels}
    return replace(device, name=entry.name, fleet=entry.fleet, labels=labels)


def restored(key: str, entry: ShardEntry, now: datetime) -> Device:
    """Return the accepted device that a published entry speaks of."""
    device = Device(key, entry.name, entry.public_key, EnrolState.ACCEPTED, enrolled_at=now)
    return with_entry(replace(device, assigned=dict(entry.labels)), entry)


def presence(device: Device | None) -> tuple[str, str] | None:
    """Return (fleet, set) under which an accepted device is counted as running, if it is."""
    if device is None or device.state is not EnrolState.ACCEPTED:
        return None
    return (device.fleet, device.running) if device.fleet and device.running else None


def enrolment(device: Device | None) -> tuple[object, ...] | None:
    """Return what the planner sees of an accepted device's enrolment; it compares equal or not."""
    if device is None or device.state is not EnrolState.ACCEPTED:
        return None
    return device.name, device.public_key, tuple(sorted(device.assigned.items()))
