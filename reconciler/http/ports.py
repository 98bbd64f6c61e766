"""What the gateway needs from the world. Every method may be called twice."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from reconciler.domain.devices import Candidate, Device
from reconciler.domain.ingest import Nonce, Receipt, Submission
from schemas.selector import Selector
from schemas.wire.report import EnrolState
from schemas.wire.status import Condition, Decision, FleetStatus


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a key is. `public_key` is base64 of the SubjectPublicKeyInfo DER; None after a restore
    from entries that have none."""

    public_key: str | None
    state: EnrolState


@dataclass(frozen=True, slots=True)
class NonceSpent:
    """The nonce was used before."""


@dataclass(frozen=True, slots=True)
class PendingFull:
    """So many wait for a decision already that another one is not kept."""


class DeviceStore(Protocol):
    """For the device API. Raises Unavailable when the database cannot be reached or written."""

    def nonce_secret(self) -> bytes:
        """Return the 32 secret bytes with which nonces are made; the same for every process."""
        ...

    def identities(self, keys: Collection[str]) -> Mapping[str, Identity]: ...

    def enrol(
        self, candidate: Candidate, nonce: Nonce, now: datetime, *, max_pending: int
    ) -> Device | NonceSpent | PendingFull:
        """Spend the nonce, judge the candidate and remember it."""
        ...

    def ingest(self, submissions: Sequence[Submission], now: datetime) -> tuple[Receipt, ...]:
        """Take verified reports, all in one transaction; durable on return."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceQuery:
    """`after` is the last key of the page before; the page is in key order."""

    fleet: str | None = None
    name: str | None = None
    state: EnrolState | None = None
    selector: Selector | None = None
    after: str = ""
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Ruling:
    """A person's decision about a device. `labels` are assigned when it is accepted."""

    key: str
    state: EnrolState
    actor: str
    reason: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NameHeld:
    """The name belongs to another key."""

    holder: str


class OperatorStore(Protocol):
    """For the operator API and the metrics."""

    def ping(self) -> None:
        """Return if the database answers, raise Unavailable if not."""
        ...

    def device(self, key: str) -> Device | None: ...

    def devices(self, query: DeviceQuery) -> tuple[Device, ...]: ...

    def devices_by_state(self) -> Mapping[EnrolState, int]: ...

    def rule(self, ruling: Ruling, now: datetime) -> Device | NameHeld | None:
        """Accept or reject a device and write it into the audit log. None: no such device."""
        ...

    def history(
        self, *, fleet: str | None, rollout: str | None, limit: int
    ) -> tuple[tuple[str, Decision], ...]:
        """Return decisions with their fleet, newest first."""
        ...


class GatewayStore(DeviceStore, OperatorStore, Protocol):
    """Both: what create_app() takes."""


class FleetView(Protocol):
    """The rollouts as they are published: from the reconciler's memory, or read from the tree."""

    def statuses(self) -> Mapping[str, FleetStatus]: ...

    def conditions(self) -> Sequence[Condition]:
        """Return the conditions of the reconciler itself (a commit refused, Git unreachable, …)."""
        ...
