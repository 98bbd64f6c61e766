"""Which device belongs to which fleet, and what a commit may not do to many at once."""

from dataclasses import replace

import pytest

from reconciler.domain.assignment import assign, guard
from reconciler.domain.desired import (
    DEFAULT_POLICY,
    DeclaredDevice,
    Desired,
    FleetIntent,
    Guards,
)
from reconciler.domain.observed import EnrolledDevice
from schemas.wire.shard import Hold, ShardEntry
from schemas.wire.types import ComponentRef
from tests.support.fleet_simulation import FleetSimulation, a_commit, a_set, key_of

KEY, OTHER = key_of("one"), key_of("another")
PIN = {"os": ComponentRef("kiosk-os@9", "sha256:" + "0" * 64)}


def a_fleet(name: str, selector: str, priority: int = 0) -> FleetIntent:
    return FleetIntent(name, selector, priority, a_set("1"), DEFAULT_POLICY)


def git(*fleets: FleetIntent, devices: tuple[DeclaredDevice, ...] = ()) -> Desired:
    return Desired(
        a_commit("x"), "test", {f.name: f for f in fleets}, {}, {d.name: d for d in devices}
    )


def enrolled(name: str = "kiosk", key: str = KEY, **labels: str) -> EnrolledDevice:
    return EnrolledDevice(name, key, "cHVibGlj", labels)


def test_a_device_belongs_to_the_fleet_that_selects_it() -> None:
    fleets = a_fleet("kiosks", "product=kiosk,!retired"), a_fleet("tills", "product in (till,pos)")

    entries = assign(git(*fleets), [enrolled(product="pos")], {}).entries

    assert entries[KEY].fleet == "tills"


def test_a_device_that_no_fleet_selects_has_an_entry_without_a_fleet() -> None:
    found = assign(git(a_fleet("kiosks", "product=kiosk")), [enrolled(product="pos")], {})

    assert found.entries[KEY].fleet is None


def test_the_highest_priority_wins() -> None:
    fleets = a_fleet("a", "product=kiosk"), a_fleet("b", "stage=dev", priority=5)

    found = assign(git(*fleets), [enrolled(product="kiosk", stage="dev")], {})

    assert (found.entries[KEY].fleet, found.conflicts) == ("b", ())


def test_a_tie_goes_to_the_first_name_and_is_told() -> None:
    fleets = a_fleet("b", "product=kiosk"), a_fleet("a", "!retired")

    found = assign(git(*fleets), [enrolled(product="kiosk")], {})

    assert found.entries[KEY].fleet == "a"
    assert [conflict.message for conflict in found.conflicts] == [
        "a, b select it with the same priority"
    ]


def test_git_has_the_last_word_on_labels_vars_pin_and_hold() -> None:
    declared = DeclaredDevice(
        "kiosk", None, {"stage": "prod"}, {"volume": 3}, PIN, Hold("being repaired")
    )

    entry = assign(git(devices=(declared,)), [enrolled(stage="dev", site="paris")], {}).entries[KEY]

    assert entry.labels == {"stage": "prod", "site": "paris"}
    assert (entry.vars, entry.pin, entry.hold) == ({"volume": 3}, PIN, Hold("being repaired"))


def test_a_declared_device_with_a_key_has_an_entry_before_it_enrols() -> None:
    declared = DeclaredDevice("kiosk", KEY, {"product": "kiosk"})

    entry = assign(git(a_fleet("kiosks", "product=kiosk"), devices=(declared,)), [], {}).entries[
        KEY
    ]

    assert (entry.name, entry.fleet, entry.public_key) == ("kiosk", "kiosks", None)


def test_a_new_key_under_a_published_name_leaves_the_old_entry_untouched() -> None:
    first = assign(git(), [enrolled(key=OTHER)], {}).entries

    second = assign(git(), [enrolled(key=OTHER), enrolled(key=KEY)], first)

    assert second.entries == first
    assert [conflict.key for conflict in second.conflicts] == [KEY]


def test_the_key_that_git_lists_owns_the_name() -> None:
    first = assign(git(), [enrolled(key=OTHER)], {}).entries
    listed = DeclaredDevice("kiosk", KEY, {})

    second = assign(git(devices=(listed,)), [enrolled(key=OTHER)], first)

    assert list(second.entries) == [KEY]


def test_a_public_key_survives_a_lost_database() -> None:
    listed = DeclaredDevice("kiosk", KEY, {})
    first = assign(git(devices=(listed,)), [enrolled()], {}).entries

    assert assign(git(devices=(listed,)), [], first).entries == first


def test_the_order_of_enrolment_does_not_matter() -> None:
    devices = [enrolled(f"kiosk-{n}", key_of(str(n)), product="kiosk") for n in range(9)]
    devices.append(enrolled("kiosk-1", key_of("double"), product="kiosk"))
    wanted = git(a_fleet("kiosks", "product=kiosk"))

    assert assign(wanted, devices, {}) == assign(wanted, devices[::-1], {})


def test_a_device_stays_in_a_fleet_whose_file_was_deleted() -> None:
    before = {KEY: ShardEntry("kiosk", "gone", {"product": "kiosk"})}

    found = assign(git(), [enrolled(product="kiosk")], before)

    assert found.entries[KEY].fleet == "gone"


def test_a_device_of_a_deleted_fleet_goes_to_the_fleet_that_selects_it_now() -> None:
    before = {KEY: ShardEntry("kiosk", "gone", {"product": "kiosk"})}

    found = assign(git(a_fleet("new", "product=kiosk")), [enrolled(product="kiosk")], before)

    assert found.entries[KEY].fleet == "new"


def test_a_device_that_its_fleet_no_longer_selects_is_unassigned() -> None:
    before = {KEY: ShardEntry("kiosk", "kiosks", {"product": "kiosk"})}

    found = assign(git(a_fleet("kiosks", "product=kiosk")), [enrolled(product="till")], before)

    assert found.entries[KEY].fleet is None


def published_fleet_of(devices: int, guards: Guards) -> FleetSimulation:
    simulation = FleetSimulation(devices=devices)
    simulation.commit("1")
    simulation.settle(6)
    simulation.desire(guards=guards)
    return simulation


def verdict(simulation: FleetSimulation) -> str | None:
    return guard(
        simulation.desired,
        simulation.entries,
        simulation.assignments.entries,
        simulation.statuses,
    )


LEAVING = Guards(max_devices_leaving_fleet=3)
CHANGING = Guards(max_devices_per_commit=3)


def test_a_selector_that_loses_too_many_devices_is_refused() -> None:
    simulation = published_fleet_of(4, LEAVING)
    simulation.intend(selector="product=kiosk,stage=dev")

    assert verdict(simulation) == "4 devices would leave their fleet, maxDevicesLeavingFleet is 3"


def test_deleting_the_file_of_a_large_fleet_is_refused() -> None:
    simulation = published_fleet_of(4, LEAVING)
    simulation.desire(fleets={})

    assert verdict(simulation) == "4 devices would leave their fleet, maxDevicesLeavingFleet is 3"


def test_a_fleet_that_was_deleted_before_is_not_counted_again() -> None:
    simulation = published_fleet_of(4, Guards())
    simulation.desire(fleets={})
    simulation.plan()
    simulation.desire(guards=LEAVING)

    assert verdict(simulation) is None


@pytest.mark.parametrize(("devices", "refused"), [(3, False), (4, True)])
def test_a_commit_may_change_as_many_devices_as_the_guard_says(devices: int, refused: bool) -> None:
    simulation = published_fleet_of(devices, CHANGING)
    simulation.commit("2")

    assert (verdict(simulation) is not None) is refused


def test_devices_that_join_and_commits_that_change_nothing_are_not_counted() -> None:
    simulation = published_fleet_of(4, CHANGING)
    for number in range(9):
        simulation.add(f"new-{number}")
    simulation.desire(project="renamed")

    assert verdict(simulation) is None


def test_a_refused_set_is_not_counted_at_every_commit() -> None:
    simulation = published_fleet_of(4, Guards())
    simulation.commit("2")
    simulation.plan()
    simulation.desire(guards=CHANGING)

    assert verdict(simulation) is None


def test_a_pin_counts_as_a_change() -> None:
    simulation = published_fleet_of(1, replace(CHANGING, max_devices_per_commit=0))
    simulation.declare("kiosk-0001", pin=PIN)

    assert verdict(simulation) == "1 device would change, maxDevicesPerCommit is 0"
