"""What is known of the devices: who is enrolled, what they run, how it went. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from schemas.wire.status import StageCounts

HEARTBEAT = timedelta(hours=1)
HEARTBEAT_ROLLING = timedelta(minutes=5)  # while the device's fleet rolls out
SEEN_WITHIN = 3  # heartbeat intervals; a device silent for longer is not reachable


@dataclass(frozen=True, slots=True)
class EnrolledDevice:
    """An accepted device. `labels` were assigned at enrolment, Git's labels override them."""

    name: str
    key: str
    public_key: str | None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest report of a device: when it came, the set it runs, the facts it claims."""

    last_seen: datetime
    running: str | None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """`seen` by key id. `counts` by rollout and stage are aggregates kept at ingest; their
    `admitted` and `reachable` are left to the planner. `running` counts by fleet and set."""

    enrolled: tuple[EnrolledDevice, ...] = ()
    seen: Mapping[str, Seen] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, StageCounts]] = field(default_factory=dict)
    running: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
