"""What the operator API answers and accepts. Strict: a number in quotes is not a number."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from reconciler.domain.devices import Device
from schemas.kinds.values import Labels
from schemas.wire.report import EnrolState
from schemas.wire.status import Condition, Decision, FleetStatus, Opened, Phase, Rollout
from schemas.wire.types import ComponentSet

Reason = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ConditionOut(_Model):
    type: str
    status: bool
    reason: str
    message: str
    since: datetime

    @classmethod
    def of(cls, condition: Condition) -> Self:
        return cls(
            type=condition.type,
            status=condition.status,
            reason=condition.reason,
            message=condition.message,
            since=condition.since,
        )


class DecisionOut(_Model):
    at: datetime
    fleet: str
    kind: str
    reason: str
    rollout: str | None
    stage: str | None

    @classmethod
    def of(cls, fleet: str, decision: Decision) -> Self:
        return cls(
            at=decision.at,
            fleet=fleet,
            kind=decision.kind,
            reason=decision.reason,
            rollout=decision.rollout,
            stage=decision.stage,
        )


class StageOut(_Model):
    """`size` devices were admitted when the stage was opened; the rest counts attempts."""

    name: str
    opened: datetime
    passed: datetime | None
    size: int
    started: int
    ok: int
    failed: int
    neutral: int
    overdue: int
    failures: dict[str, int]

    @classmethod
    def of(cls, opened: Opened) -> Self:
        counts = opened.counts
        return cls(
            name=opened.stage,
            opened=opened.at,
            passed=opened.passed,
            size=opened.size,
            started=counts.started,
            ok=counts.ok,
            failed=counts.failed,
            neutral=counts.neutral,
            overdue=counts.overdue,
            failures=dict(counts.failures),
        )


class RolloutOut(_Model):
    id: str
    fleet: str
    set: str
    components: dict[str, str]
    attempt: int
    commit: str
    phase: Phase
    reason: str
    started: datetime
    ended: datetime | None
    stages: list[StageOut]

    @classmethod
    def of(cls, fleet: str, rollout: Rollout) -> Self:
        return cls(
            id=rollout.id,
            fleet=fleet,
            set=rollout.set,
            components=releases_of(rollout.content),
            attempt=rollout.attempt,
            commit=rollout.commit,
            phase=rollout.phase,
            reason=rollout.reason,
            started=rollout.started,
            ended=rollout.ended,
            stages=[StageOut.of(opened) for opened in rollout.exposure],
        )


class FleetOut(_Model):
    name: str
    devices: int
    commit: str
    desired: str
    stable: dict[str, str] | None
    rollout: RolloutOut | None
    conditions: list[ConditionOut]

    @classmethod
    def of(cls, status: FleetStatus) -> Self:
        rollout = status.rollout
        return cls(
            name=status.fleet,
            devices=status.devices,
            commit=status.commit,
            desired=status.desired_text,
            stable=releases_of(status.stable.content) if status.stable else None,
            rollout=RolloutOut.of(status.fleet, rollout) if rollout else None,
            conditions=[ConditionOut.of(condition) for condition in status.conditions],
        )


class DeviceOut(_Model):
    key: str
    name: str
    state: EnrolState
    fleet: str | None
    labels: dict[str, str]
    enrolled: datetime
    last_seen: datetime | None
    running: str | None
    components: dict[str, str]
    doing: str
    waiting: str
    agent: str
    facts: dict[str, str]

    @classmethod
    def of(cls, device: Device) -> Self:
        heard = device.heard
        return cls(
            key=device.key,
            name=device.name,
            state=device.state,
            fleet=device.fleet,
            labels=dict(device.labels),
            enrolled=device.enrolled_at,
            last_seen=device.last_seen,
            running=device.running,
            components=dict(heard.components) if heard else {},
            doing=heard.state if heard else "",
            waiting=heard.waiting if heard else "",
            agent=heard.agent if heard else "",
            facts=dict(heard.facts) if heard else {},
        )


class ReleaseOut(_Model):
    """A release that some fleet has as stable, or is being brought to."""

    release: str
    descriptor: str
    stable_in: list[str]
    rolling_out_in: list[str]


class FleetList(_Model):
    """`next` is the `after` of the next page, null on the last one."""

    items: list[FleetOut]
    next: str | None


class RolloutList(_Model):
    items: list[RolloutOut]
    next: str | None


class DeviceList(_Model):
    items: list[DeviceOut]
    next: str | None


class ReleaseList(_Model):
    items: list[ReleaseOut]
    next: str | None


class ConditionList(_Model):
    items: list[ConditionOut]
    next: None = None


class History(_Model):
    items: list[DecisionOut]


class RolloutDetail(_Model):
    """`rollout` is null when the fleet has moved on; the decisions remain."""

    rollout: RolloutOut | None
    decisions: list[DecisionOut]


class Acceptance(_Model):
    """`labels` are assigned to the device; Git's labels go over them."""

    reason: Reason
    labels: Labels = Field(default_factory=dict)


class Rejection(_Model):
    reason: Reason


def releases_of(content: ComponentSet) -> dict[str, str]:
    return {name: ref.release for name, ref in sorted(content.components.items())}


def releases_in(statuses: Mapping[str, FleetStatus]) -> list[ReleaseOut]:
    """Return the releases in use, by release id and descriptor."""
    stable, rolling = dict[tuple[str, str], list[str]](), dict[tuple[str, str], list[str]]()
    for fleet, status in sorted(statuses.items()):
        for content, where in (
            (status.stable.content if status.stable else None, stable),
            (_under_way(status), rolling),
        ):
            for ref in content.components.values() if content else ():
                where.setdefault((ref.release, ref.descriptor), []).append(fleet)
    return [
        ReleaseOut(
            release=release,
            descriptor=descriptor,
            stable_in=stable.get((release, descriptor), []),
            rolling_out_in=rolling.get((release, descriptor), []),
        )
        for release, descriptor in sorted({*stable, *rolling})
    ]


def _under_way(status: FleetStatus) -> ComponentSet | None:
    rollout = status.rollout
    return rollout.content if rollout and rollout.ended is None else None
