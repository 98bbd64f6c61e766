"""`fleets/<fleet>.json`: what a fleet should run, and who may have it already."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from schemas.wire.types import (
    Commit,
    ComponentRef,
    ComponentSet,
    Count,
    Digest,
    Name,
    Order,
    Positive,
    RolloutId,
    SetId,
    Var,
)

MANIFEST_LIMIT = 256 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class AdmitRule:
    """One way to be admitted; exactly one of the first four is set. `stage` names who opened it."""

    selector: str | None = None
    only: tuple[Order, ...] | None = None
    through: Order | None = None
    running: SetId | None = None
    stage: str | None = None


@dataclass(frozen=True, slots=True)
class Groups:
    """A budget by explicit lists: of groups in `only` these orders, of `unlimited` ones all."""

    by: str
    only: Mapping[str, tuple[Order, ...]]
    unlimited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Next:
    """The set that is being rolled out."""

    rollout: RolloutId
    set: SetId
    components: Mapping[Name, ComponentRef]
    config: Mapping[Name, Digest]
    vars: Mapping[str, Var]
    admit: tuple[AdmitRule, ...]
    groups: Groups | None

    @property
    def content(self) -> ComponentSet:
        return ComponentSet(self.components, self.config, self.vars)


@dataclass(frozen=True, slots=True)
class Stable:
    """The set of the last completed rollout, and the attempt of it that completed."""

    set: SetId
    attempt: Positive
    components: Mapping[Name, ComponentRef]
    config: Mapping[Name, Digest]
    vars: Mapping[str, Var]

    @property
    def content(self) -> ComponentSet:
        return ComponentSet(self.components, self.config, self.vars)


@dataclass(frozen=True, slots=True)
class Stop:
    """The operator's emergency stop: nothing new starts."""

    reason: str
    actor: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Manifest:
    """`generation` rises with each change. `poll`, `fresh_for` in seconds, null: for ever."""

    fleet: Name
    generation: Positive
    commit: Commit
    issued: datetime
    stop: Stop | None
    poll: Positive
    fresh_for: Positive | None
    windows: tuple[Mapping[str, Any], ...]
    attempt: Positive
    next: Next | None
    stable: Stable | None
    keep: tuple[SetId, ...]
    type: Literal["fleetcd/manifest"] = "fleetcd/manifest"
    schema: Count = 1
    critical: tuple[str, ...] = field(default=())
