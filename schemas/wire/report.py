"""What a device says: signed reports, and the request to be enrolled (docs/protocol.md 7)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from schemas.wire.decode import Matching
from schemas.wire.types import ComponentSet, Count, KeyId, Name, Positive, RolloutId, SetId

REPORT_LIMIT = 16 * 1024  # bytes of the whole JWS
REPORT_TYPE, ENROL_TYPE = "fleetcd-report+jws", "fleetcd-enrol+jws"  # the JWS header's `typ`
REPORT_AUDIENCE, ENROL_AUDIENCE = "fleetcd-report", "fleetcd-enrol"
MAX_LIFETIME, MAX_SKEW = 120, 60  # seconds

JournalId = Annotated[str, Matching(r"[0-9a-f]{32}")]
EventId = Annotated[str, Matching(r"[0-9a-f]{32}")]


class Outcome(StrEnum):
    """How an attempt ended. Neutral counts neither for nor against: nothing was tried here."""

    OK = "ok"
    FAILED = "failed"
    NEUTRAL = "neutral"


class FailureClass(StrEnum):
    DOWNLOAD = "download"
    SIGNATURE = "signature"
    CHECKSUM = "checksum"
    SPACE = "space"
    PREINSTALL = "preinstall"
    INSTALL = "install"
    REBOOT = "reboot"
    HEALTHCHECK = "healthcheck"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SCRIPT = "script"
    TIMEOUT = "timeout"
    NETWORK = "network"
    POLICY = "policy"
    UNKNOWN = "unknown"


class EventKind(StrEnum):
    STATE = "state"  # a deployment entered a state
    FINISHED = "finished"  # a deployment ended; carries `outcome`
    REFUSED = "refused"  # published metadata or an artifact was refused; nothing changed


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, with an id of its own: counted once, however often it arrives."""

    id: EventId
    kind: EventKind
    at: datetime
    boot_id: str
    rollout: RolloutId | None = None
    set: SetId | None = None
    attempt: Positive | None = None
    state: str | None = None
    outcome: Outcome | None = None
    failure: FailureClass | None = None
    code: str | None = None  # a refusal's E_ code
    message: str | None = None  # at most 1,000 characters
    inconsistent: tuple[str, ...] = ()  # components whose state is unknown


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What runs now. `set` null: nothing that fleetcd installed is known."""

    set: SetId | None
    running: ComponentSet | None
    fleet: Name | None
    state: str
    timestamp_version: Count
    clock_trusted: bool
    agent: str
    boot_id: str
    facts: Mapping[str, str] = field(default_factory=dict)
    last_outcome: Event | None = None
    stale_since: datetime | None = None
    waiting: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The JWS payload. `iat`, `exp`: seconds since the epoch; `seq` rises within a `journal`."""

    iss: KeyId
    aud: Literal["fleetcd-report"]
    iat: Count
    exp: Count
    journal: JournalId
    seq: Positive
    heartbeat: Heartbeat | None = None
    events: tuple[Event, ...] = ()
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class EnrolRequest:
    """The JWS payload; signed with the key that it brings, which proves possession."""

    aud: Literal["fleetcd-enrol"]
    iat: Count
    exp: Count
    nonce: str
    name: Name
    public_key: str  # base64 of the SubjectPublicKeyInfo DER
    facts: Mapping[str, str] = field(default_factory=dict)


class EnrolState(StrEnum):
    ACCEPTED = "accepted"
    PENDING = "pending"
    REJECTED = "rejected"
    CONFLICT = "conflict"  # the name belongs to another key; a person decides


@dataclass(frozen=True, slots=True)
class EnrolReply:
    state: EnrolState
    message: str = ""


@dataclass(frozen=True, slots=True)
class ReportReply:
    """200. `resync` asks for a heartbeat with `last_outcome` at once: the gateway forgot."""

    ack: Count
    resync: bool = False


@dataclass(frozen=True, slots=True)
class SequenceConflict:
    """409. The same journal and seq <= last_seq: acknowledged already. Else a nonce is needed."""

    journal: str | None
    last_seq: Count
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class NonceReply:
    """200 of GET /v1/nonce, and 401 for a clock that is off."""

    nonce: str
    date: Count
