"""Whom a stage admits. Devices are `kiosk-0001`, …; the rollout is the one of their commit."""

from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction

import pytest

from reconciler.domain.desired import Stage
from schemas.canonical import rollout_id
from schemas.order import LAST, order
from schemas.resolve import Running
from schemas.wire.manifest import AdmitRule
from schemas.wire.shard import Hold
from schemas.wire.status import Phase
from schemas.wire.types import ComponentRef
from tests.support.fleet_simulation import (
    FLEET,
    NOON,
    FleetSimulation,
    everybody,
    stages,
)

PIN = {"os": ComponentRef("kiosk-os@9", "sha256:" + "0" * 64)}


def opened(simulation: FleetSimulation) -> FleetSimulation:
    """Let the first stage open: every device reports, the planner plans."""
    simulation.heartbeats()
    simulation.plan()
    simulation.heartbeats()
    simulation.plan()
    return simulation


def admit(simulation: FleetSimulation) -> tuple[AdmitRule, ...]:
    assert simulation.manifest.next is not None
    return simulation.manifest.next.admit


def asked(first: Stage, *, devices: int) -> FleetSimulation:
    simulation = FleetSimulation(stages(first, everybody()), devices=devices)
    simulation.commit("1")
    return simulation


def in_order(simulation: FleetSimulation) -> list[str]:
    return sorted(simulation.devices, key=lambda name: order(simulation.rollout.id, name))


def going(simulation: FleetSimulation) -> list[str]:
    """Return the devices that the published documents send to the new set."""
    found = [d.name for d in simulation.devices.values() if (t := simulation.target(d)) and t.stage]
    return sorted(found)


@pytest.mark.parametrize(
    ("stage", "devices", "expected"),
    [
        pytest.param(Stage("s", count=1), 5, 1, id="a count is a number of devices"),
        pytest.param(Stage("s", count=9), 5, 5, id="a count beyond the fleet is the whole fleet"),
        pytest.param(
            Stage("s", percent=Fraction(1)), 5, 1, id="one percent is at least one device"
        ),
        pytest.param(Stage("s", percent=Fraction(50)), 5, 3, id="a percentage is rounded up"),
        pytest.param(Stage("s", percent=Fraction(40)), 5, 2, id="a percentage is exact"),
    ],
)
def test_a_stage_admits_exactly_the_first_devices_in_order(
    stage: Stage, devices: int, expected: int
) -> None:
    simulation = opened(asked(stage, devices=devices))

    assert going(simulation) == sorted(in_order(simulation)[:expected])
    assert simulation.rollout.exposure[0].size == expected


def test_up_to_a_hundred_devices_are_listed_one_by_one() -> None:
    simulation = opened(asked(Stage("s", count=100), devices=150))

    (rule,) = admit(simulation)
    assert rule.only is not None and len(rule.only) == 100


def test_more_devices_are_admitted_by_a_cut_off_that_is_exact_among_those_seen() -> None:
    simulation = opened(asked(Stage("s", count=101), devices=150))

    (rule,) = admit(simulation)
    last = in_order(simulation)[100]
    assert rule == AdmitRule(through=order(simulation.rollout.id, last), stage="s")
    assert len(going(simulation)) == 101


def test_a_hundred_percent_admits_everybody_later_devices_too() -> None:
    simulation = opened(asked(everybody(), devices=2))
    simulation.add("newcomer")
    opened(simulation)

    assert admit(simulation) == (AdmitRule(through=LAST, stage="all"),)
    assert "newcomer" in going(simulation)


def test_a_selector_is_published_as_it_is_written() -> None:
    simulation = asked(Stage("canary", selector="ring=canary"), devices=3)
    simulation.add("first", ring="canary")
    opened(simulation)

    assert admit(simulation) == (AdmitRule(selector="ring=canary", stage="canary"),)
    assert going(simulation) == ["first"]


def test_stages_are_cumulative() -> None:
    simulation = FleetSimulation(
        stages(Stage("one", count=1), Stage("three", count=3), everybody()), devices=9
    )
    content = simulation.commit("1")
    simulation.round()
    simulation.round()

    assert simulation.on(content) == sorted(in_order(simulation)[:3])


def lose(simulation: FleetSimulation) -> None:
    """Let the only device report, and then be silent for long."""
    simulation.heartbeats()
    simulation.devices["kiosk-0001"].online = False
    simulation.now += timedelta(days=2)


@pytest.mark.parametrize(
    ("spoil", "standing"),
    [
        pytest.param(lambda s: s.declare("kiosk-0001", hold=Hold("repair")), "held", id="held"),
        pytest.param(lambda s: s.declare("kiosk-0001", pin=PIN), "pinned", id="pinned"),
        pytest.param(
            lambda s: s.commit("1", compatible="board=rpi4"), "incompatible", id="incompatible"
        ),
        pytest.param(
            lambda s: setattr(s.devices["kiosk-0001"], "online", False),
            "not heard of yet",
            id="not heard of yet",
        ),
        pytest.param(lose, "not seen lately", id="not seen lately"),
    ],
)
def test_a_stage_does_not_open_for_a_device_that_is(
    spoil: Callable[[FleetSimulation], object], standing: str
) -> None:
    simulation = asked(Stage("s", count=1), devices=1)
    spoil(simulation)
    opened(simulation)

    assert (simulation.rollout.phase, admit(simulation)) == (Phase.PENDING, ())
    assert simulation.rollout.reason == f"stage s waits: no device is eligible (1 {standing})"


def test_a_hold_that_has_ended_no_longer_counts() -> None:
    simulation = asked(Stage("s", count=1), devices=1)
    simulation.declare("kiosk-0001", hold=Hold("repair", NOON - timedelta(hours=1)))

    assert going(opened(simulation)) == ["kiosk-0001"]


def test_compatibility_is_judged_as_on_the_device_by_facts_before_labels() -> None:
    simulation = asked(Stage("s", count=9), devices=0)
    simulation.commit("1", compatible="board=rpi4")
    simulation.add("by-fact").facts = {"board": "rpi4"}
    simulation.add("by-label", board="rpi4").facts = {"ram": "1g"}
    simulation.add("mislabelled", board="rpi4").facts = {"board": "nuc"}
    simulation.add("neither").facts = {"board": "nuc"}

    assert going(opened(simulation)) == ["by-fact", "by-label"]


def test_a_selector_that_matches_no_eligible_device_waits() -> None:
    simulation = opened(asked(Stage("canary", selector="ring=canary"), devices=3))

    assert admit(simulation) == ()
    assert "no eligible device matches ring=canary (3 eligible)" in simulation.rollout.reason


def test_an_empty_fleet_waits_for_its_first_device() -> None:
    simulation = opened(asked(Stage("s", count=1), devices=0))

    assert simulation.rollout.reason == "stage s waits: the fleet has no devices"


def test_the_devices_of_one_rollout_are_not_those_of_the_next() -> None:
    simulation = FleetSimulation(devices=50)
    firsts = set()
    for version in ("1", "2", "3"):
        simulation.commit(version)
        opened(simulation)
        firsts.update(going(simulation))

    assert len(firsts) > 1


def test_a_device_that_runs_the_set_already_is_no_canary() -> None:
    simulation = asked(Stage("one", count=1), devices=3)
    content = simulation.intent.content
    rollout = rollout_id(FLEET, content.id, 1)
    first = min(simulation.devices.values(), key=lambda device: order(rollout, device.name))
    first.running = Running(content.id, content)
    opened(simulation)

    listed = [place for rule in admit(simulation) for place in rule.only or ()]
    assert listed == [order(rollout, in_order(simulation)[1])]


def test_a_device_that_has_the_set_keeps_it_when_it_loses_the_label_that_admitted_it() -> None:
    simulation = asked(everybody(), devices=3)
    simulation.add("first", ring="canary")
    simulation.settle(4)
    simulation.intend(policy=stages(Stage("canary", selector="ring=canary"), everybody()))
    content = simulation.commit("2")
    simulation.round()
    simulation.declare("first", ring="none")
    simulation.act(simulation.devices["first"])
    simulation.round(minutes=0)

    assert "first" in simulation.on(content)
