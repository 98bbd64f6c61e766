"""`status/<fleet>.json`: what the planner decided and why. It is also the planner's whole memory:
a reconciler that lost its database reads it back and goes on (docs/adr/planner-memory.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from schemas.wire.manifest import AdmitRule, Stable
from schemas.wire.types import Commit, ComponentSet, Count, Name, Positive, RolloutId, SetId

STATUS_LIMIT = 512 * 1024  # bytes
MAX_DECISIONS = 50


class Phase(StrEnum):
    """Where a rollout is. The last four are final."""

    PENDING = "pending"  # nobody is admitted yet
    PROGRESSING = "progressing"
    SOAKING = "soaking"
    AWAITING_APPROVAL = "awaiting approval"
    PAUSED = "paused"  # a person said wait
    HALTED = "halted"  # the gate said no; who has it keeps it
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"
    COMPLETED = "completed"
    SUPERSEDED = "superseded"
    ABORTED = "aborted"


FINAL = frozenset({Phase.ROLLED_BACK, Phase.COMPLETED, Phase.SUPERSEDED, Phase.ABORTED})


@dataclass(frozen=True, slots=True)
class StageCounts:
    """The devices that a stage admitted first, by how far their attempt is.

    `admitted` eligible devices at the time of counting; `reachable` of these seen recently;
    `started` an attempt; of the started, `ok`, `failed`, `neutral` or `overdue` (silent past a
    timeout). `failures` counts `failed` by failure class.
    """

    admitted: Count = 0
    reachable: Count = 0
    started: Count = 0
    ok: Count = 0
    failed: Count = 0
    neutral: Count = 0
    overdue: Count = 0
    failures: Mapping[str, Count] = field(default_factory=dict)

    @property
    def finished(self) -> int:
        """Return the attempts that count for the gate: neutral ones never do."""
        return self.ok + self.failed + self.overdue


@dataclass(frozen=True, slots=True)
class Opened:
    """A stage that was opened: whom it admits, when, and when its gate was passed."""

    stage: str
    rules: tuple[AdmitRule, ...]
    size: Count  # eligible devices it admits, earlier stages included, when it was opened
    at: datetime
    counts: StageCounts = field(default_factory=StageCounts)
    # Since when the gate's counts have been met: the soak starts here.
    settled: datetime | None = None
    passed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """Bringing a fleet to one set. `exposure` is who was admitted so far: it only grows."""

    id: RolloutId
    set: SetId
    content: ComponentSet
    attempt: Positive
    commit: Commit
    phase: Phase
    reason: str
    started: datetime
    exposure: tuple[Opened, ...] = ()
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A ledger entry: this set went wrong here; not tried again until Git changes or a retry."""

    set: SetId
    release: str  # in words: "os=kiosk-os@1.5.0"
    rollout: RolloutId
    attempt: Positive
    reason: str
    at: datetime
    closed: datetime | None = None  # Git stopped asking for it


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and why, in words an operator can act on."""

    at: datetime
    kind: str  # "open stage", "halt", "complete", "roll back", "supersede", "start", …
    reason: str
    rollout: RolloutId | None = None
    stage: str | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """One of Flux's conditions: `type` Ready, Stalled, … with a reason and a message."""

    type: str
    status: bool
    reason: str
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """`desired` is the set that Git asks for; `stable` the last completed; `keep` may be kept."""

    fleet: Name
    generation: Positive
    commit: Commit
    issued: datetime
    desired: SetId
    desired_text: str
    stable: Stable | None
    keep: tuple[SetId, ...]
    rollout: Rollout | None
    attempts: Mapping[SetId, Positive]
    ledger: tuple[Refused, ...] = ()
    decisions: tuple[Decision, ...] = ()
    conditions: tuple[Condition, ...] = ()
    devices: Count = 0
    type: Literal["fleetcd/status"] = "fleetcd/status"
    schema: Count = 1
    critical: tuple[str, ...] = field(default=())
