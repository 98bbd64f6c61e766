"""Who may join, under which name, and who decides: for every store."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.sql_store import SqlStore
from reconciler.domain.devices import Candidate, Device
from reconciler.http.ports import DeviceQuery, NameHeld, PendingFull, Ruling
from schemas.selector import parse_selector
from schemas.wire.report import EnrolState
from tests.support.gateway_device import NOW, SigningDevice
from tests.support.gateway_world import BothStores, enrol, entry, fresh_nonce, publish
from tests.support.memory_store import MemoryStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BothStores]:
    if request.param == "memory":
        yield MemoryStore(lambda: NOW)
        return
    opened = SqlStore.open(f"sqlite:///{tmp_path / 'fleetcd.db'}", lambda: NOW)
    yield opened
    opened.close()


def accept(store: BothStores, device: SigningDevice, **labels: str) -> object:
    return store.rule(Ruling(device.key, EnrolState.ACCEPTED, "ann", "known", labels), NOW)


def reject(store: BothStores, device: SigningDevice) -> object:
    return store.rule(Ruling(device.key, EnrolState.REJECTED, "ann", "stolen", {}), NOW)


def listed(store: BothStores, *devices: SigningDevice) -> None:
    store.learn(entries={}, listed={each.key: each.name for each in devices}, manifests={})


def names(store: BothStores, query: DeviceQuery) -> list[str]:
    return [each.name for each in store.devices(query)]


def test_a_listed_key_is_accepted_at_once_under_gits_name(store: BothStores) -> None:
    device = SigningDevice("kiosk-0001")
    listed(store, device)
    joined = enrol(store, replace(device, name="liar"))
    assert (joined.state, joined.name) == (EnrolState.ACCEPTED, "kiosk-0001")


def test_an_unlisted_key_waits_until_git_lists_it(store: BothStores) -> None:
    device = SigningDevice("kiosk-0001")
    assert enrol(store, device).state is EnrolState.PENDING
    assert store.observed(NOW, {}).enrolled == ()
    listed(store, device)
    assert [each.key for each in store.observed(NOW, {}).enrolled] == [device.key]


def test_asking_again_changes_nothing(store: BothStores) -> None:
    device = SigningDevice("kiosk-0001")
    listed(store, device)
    enrol(store, device)
    version = store.devices_version()
    assert enrol(store, device).state is EnrolState.ACCEPTED
    assert store.devices_version() == version


def test_a_new_key_for_a_name_is_a_conflict_and_the_old_one_stays(store: BothStores) -> None:
    old, new = SigningDevice("kiosk-0001"), SigningDevice("kiosk-0001")
    listed(store, old)
    enrol(store, old)
    assert enrol(store, new).state is EnrolState.CONFLICT
    assert [each.key for each in store.observed(NOW, {}).enrolled] == [old.key]
    assert accept(store, new) == NameHeld(old.key)


def test_a_name_that_git_gives_to_another_key_is_a_conflict(store: BothStores) -> None:
    ours, other = SigningDevice("kiosk-0001"), SigningDevice("kiosk-0001")
    listed(store, ours)
    assert enrol(store, other).state is EnrolState.CONFLICT
    assert enrol(store, ours).state is EnrolState.ACCEPTED


def test_a_name_that_is_published_for_another_key_is_a_conflict(store: BothStores) -> None:
    lost, other = SigningDevice("kiosk-0001"), SigningDevice("kiosk-0001")
    store.learn(entries={lost.key: entry(lost)}, listed={}, manifests={})
    assert enrol(store, other).state is EnrolState.CONFLICT


def test_a_rejected_key_frees_its_name_and_stays_rejected(store: BothStores) -> None:
    old, new = SigningDevice("kiosk-0001"), SigningDevice("kiosk-0001")
    enrol(store, old)
    accept(store, old)
    enrol(store, new)
    reject(store, old)
    accepted = accept(store, new)
    assert isinstance(accepted, Device)
    assert accepted.state is EnrolState.ACCEPTED
    assert enrol(store, old).state is EnrolState.REJECTED


def test_a_listed_key_that_was_rejected_stays_rejected(store: BothStores) -> None:
    device = SigningDevice("kiosk-0001")
    enrol(store, device)
    reject(store, device)
    listed(store, device)
    assert enrol(store, device).state is EnrolState.REJECTED


def test_no_more_wait_than_allowed(store: BothStores) -> None:
    for number in range(2):
        enrol(store, SigningDevice(f"kiosk-{number}"), max_pending=2)
    late = SigningDevice("kiosk-9")
    candidate = Candidate(late.key, late.name, late.public_key)
    assert store.enrol(candidate, fresh_nonce(), NOW, max_pending=2) == PendingFull()
    assert store.device(late.key) is None
    listed(store, late)
    assert enrol(store, late, max_pending=2).state is EnrolState.ACCEPTED


def test_labels_come_from_the_decision_with_gits_on_top(store: BothStores) -> None:
    device = SigningDevice("kiosk-0001")
    enrol(store, device)
    accept(store, device, site="paris", ring="late")
    store.learn(entries={device.key: entry(device, ring="canary")}, listed={}, manifests={})
    found = store.device(device.key)
    assert found is not None
    assert found.labels == {"site": "paris", "ring": "canary"}
    (enrolled,) = store.observed(NOW, {}).enrolled
    assert enrolled.labels == {"site": "paris", "ring": "late"}


def test_every_change_of_the_inventory_moves_its_version(store: BothStores) -> None:
    device = SigningDevice("kiosk-0001")
    enrol(store, device)
    versions = [store.devices_version()]
    for change in (accept, reject):
        change(store, device)
        versions.append(store.devices_version())
    assert len(set(versions)) == 3


def test_devices_are_counted_by_state(store: BothStores) -> None:
    first, second = SigningDevice("kiosk-0001"), SigningDevice("kiosk-0002")
    for device in (first, second):
        enrol(store, device)
    accept(store, first)
    expected = {EnrolState.PENDING: 1, EnrolState.ACCEPTED: 1}
    assert dict(store.devices_by_state()) == expected


def test_a_decision_about_nobody_is_none(store: BothStores) -> None:
    assert accept(store, SigningDevice()) is None


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("site=paris", ["a"]),
        ("site in (paris,rome)", ["a", "b"]),
        ("site", ["a", "b"]),
        ("!site", ["c"]),
        ("site!=paris", ["b", "c"]),
        ("site notin (paris,rome)", ["c"]),
        ("site,ring=late", ["b"]),
    ],
)
def test_devices_are_found_by_selector(
    store: BothStores, selector: str, expected: list[str]
) -> None:
    labels = {"a": {"site": "paris"}, "b": {"site": "rome", "ring": "late"}, "c": {}}
    for name, assigned in labels.items():
        device = SigningDevice(name)
        enrol(store, device)
        accept(store, device, **assigned)
    found = names(store, DeviceQuery(selector=parse_selector(selector)))
    assert sorted(found) == expected


def test_devices_are_found_by_name_state_and_fleet_page_by_page(store: BothStores) -> None:
    devices = sorted((SigningDevice(f"kiosk-{n}") for n in range(5)), key=lambda each: each.key)
    publish(store, devices[:4])
    for device in devices:
        enrol(store, device)
    expected = [each.name for each in devices]
    assert names(store, DeviceQuery(limit=2)) == expected[:2]
    assert names(store, DeviceQuery(after=devices[1].key)) == expected[2:]
    assert names(store, DeviceQuery(fleet="kiosks")) == expected[:4]
    assert names(store, DeviceQuery(state=EnrolState.PENDING)) == expected[4:]
    assert names(store, DeviceQuery(name=expected[3])) == expected[3:4]
