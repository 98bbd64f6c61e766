"""`devices/<shard>.json`: a device key's fleet, labels, vars, pin and hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from schemas.wire.types import ComponentRef, Count, KeyId, Name, Var

SHARD_LIMIT = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """Stay as you are. `until` null means until Git says otherwise."""

    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One device. `fleet` null: accepted, but no fleet selects it.

    `public_key` is base64 of the SubjectPublicKeyInfo DER; absent until the device has enrolled.
    """

    name: Name
    fleet: Name | None
    labels: Mapping[str, str]
    public_key: str | None = None
    vars: Mapping[str, Var] = field(default_factory=dict)
    pin: Mapping[Name, ComponentRef] = field(default_factory=dict)
    hold: Hold | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shard:
    entries: Mapping[KeyId, ShardEntry]
    type: Literal["fleetcd/shard"] = "fleetcd/shard"
    schema: Count = 1
    critical: tuple[str, ...] = field(default=())
