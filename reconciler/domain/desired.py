"""What one commit asks for: every reference followed, every default filled in. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction

from schemas.wire.descriptor import Descriptor
from schemas.wire.shard import Hold
from schemas.wire.types import ComponentRef, ComponentSet, Var


class OnFailure(StrEnum):
    PAUSE = "pause"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Gate:
    """When a stage has earned the next one. `success` and `min_coverage` are fractions of 1."""

    success: Fraction = Fraction(1)
    min_finished: int = 1
    min_coverage: Fraction = Fraction(1)
    attempt_timeout: timedelta = timedelta(hours=1)
    report_lost: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Stage:
    """Cumulative exposure; exactly one of selector, count and percent is set."""

    name: str
    selector: str | None = None
    count: int | None = None
    percent: Fraction | None = None  # of 100
    soak: timedelta = timedelta(0)
    approval: int = 0  # how many people must approve before the next stage opens
    gate: Gate = field(default_factory=Gate)


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    stages: tuple[Stage, ...]
    on_failure: OnFailure = OnFailure.PAUSE
    deadline: timedelta | None = None


DEFAULT_POLICY = Policy(
    "default",
    (Stage("first", count=1), Stage("all", percent=Fraction(100))),
)


@dataclass(frozen=True, slots=True)
class FleetIntent:
    """One Fleet document, references followed. `suspended`: why nothing new starts, or None."""

    name: str
    selector: str
    priority: int
    content: ComponentSet
    policy: Policy
    suspended: str | None = None


@dataclass(frozen=True, slots=True)
class DeclaredDevice:
    """A Device, or a line of a DeviceList."""

    name: str
    key: str | None
    labels: Mapping[str, str]
    vars: Mapping[str, Var] = field(default_factory=dict)
    pin: Mapping[str, ComponentRef] = field(default_factory=dict)
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Guards:
    """Refused at plan and at publish when exceeded; None means no limit."""

    max_devices_per_commit: int | None = None
    max_devices_leaving_fleet: int | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole of one commit. `descriptors` and `withdrawn` are keyed by `name@version`."""

    commit: str
    project: str
    fleets: Mapping[str, FleetIntent]
    descriptors: Mapping[str, Descriptor]
    devices: Mapping[str, DeclaredDevice]
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    guards: Guards = field(default_factory=Guards)
    committed_at: datetime | None = None
