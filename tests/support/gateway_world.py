"""A small world around the gateway: published entries and manifests, a clock, a view."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.domain.devices import Candidate, Device
from reconciler.domain.ingest import Nonce, Submission
from reconciler.http.ports import GatewayStore
from reconciler.ports import Store
from schemas.order import order
from schemas.wire.manifest import AdmitRule, Manifest, Next
from schemas.wire.report import Event, Heartbeat
from schemas.wire.shard import ShardEntry
from schemas.wire.status import Condition, FleetStatus
from tests.support.gateway_device import NEW_SET, NOW, SigningDevice

FLEET, ROLLOUT = "kiosks", "r-0000000a"


class BothStores(Store, GatewayStore, Protocol):
    """What the adapters implement."""


@dataclass
class Watch:
    """A clock that stands until it is moved."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, step: timedelta) -> None:
        self.now += step


@dataclass
class StillView:
    fleets: Mapping[str, FleetStatus] = field(default_factory=dict)
    told: Sequence[Condition] = ()

    def statuses(self) -> Mapping[str, FleetStatus]:
        return self.fleets

    def conditions(self) -> Sequence[Condition]:
        return self.told


def stage(name: str, *devices: SigningDevice, rollout: str = ROLLOUT) -> AdmitRule:
    return AdmitRule(only=tuple(order(rollout, each.name) for each in devices), stage=name)


def everybody(name: str = "all") -> AdmitRule:
    return AdmitRule(selector="", stage=name)


def manifest(*rules: AdmitRule, rollout: str = ROLLOUT, attempt: int = 1) -> Manifest:
    return Manifest(
        fleet=FLEET,
        generation=1,
        commit="a" * 40,
        issued=NOW,
        stop=None,
        poll=60,
        fresh_for=60,
        windows=(),
        attempt=attempt,
        next=Next(rollout, NEW_SET, {}, {}, {}, rules, None),
        stable=None,
        keep=(),
    )


def entry(device: SigningDevice, fleet: str | None = FLEET, **labels: str) -> ShardEntry:
    return ShardEntry(device.name, fleet, labels, device.public_key)


def publish(store: BothStores, devices: Sequence[SigningDevice], *manifests: Manifest) -> None:
    """Let the store learn entries, the keys as listed in Git, and manifests."""
    store.learn(
        entries={each.key: entry(each) for each in devices},
        listed={each.key: each.name for each in devices},
        manifests={each.fleet: each for each in manifests},
    )


_numbers = iter(range(1_000_000))


def fresh_nonce(at: datetime = NOW) -> Nonce:
    return Nonce(f"nonce-{next(_numbers)}", at + timedelta(minutes=5))


def enrol(store: BothStores, device: SigningDevice, *, max_pending: int = 100) -> Device:
    candidate = Candidate(device.key, device.name, device.public_key)
    result = store.enrol(candidate, fresh_nonce(), NOW, max_pending=max_pending)
    assert isinstance(result, Device)
    return result


def first_report(
    device: SigningDevice, *events: Event, heard: Heartbeat | None = None
) -> Submission:
    """Return a report that starts the device's journal."""
    return Submission(device.report(*events, heartbeat=heard), fresh_nonce())


def joined(store: BothStores, *names: str) -> list[SigningDevice]:
    """Return devices that are listed, published, enrolled and have reported once."""
    devices = [SigningDevice(name) for name in names]
    publish(store, devices)
    for device in devices:
        enrol(store, device)
    store.ingest([first_report(device) for device in devices], NOW)
    return devices


def tell(store: BothStores, device: SigningDevice, *events: Event, at: datetime = NOW) -> None:
    store.ingest([Submission(device.report(*events))], at)


def renamed(device: SigningDevice, name: str) -> SigningDevice:
    return replace(device, name=name)
