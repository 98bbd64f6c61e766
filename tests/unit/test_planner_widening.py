"""A stage that counts takes the devices it is owed when they are seen, and no more."""

from datetime import timedelta
from fractions import Fraction

from reconciler.domain.desired import Stage
from schemas.order import order
from schemas.wire.manifest import AdmitRule
from schemas.wire.shard import Hold
from schemas.wire.status import Phase
from tests.support.fleet_simulation import FleetSimulation, a_gate, everybody, stages

TWO = Stage("canary", count=2, gate=a_gate(min_finished=2), soak=timedelta(minutes=5))


def short_canary() -> FleetSimulation:
    """A canary of two, opened while one of four devices was seen."""
    simulation = FleetSimulation(stages(TWO, everybody()), devices=4)
    for name in ("kiosk-0002", "kiosk-0003", "kiosk-0004"):
        simulation.devices[name].online = False
    simulation.commit("1")
    simulation.round()
    assert simulation.rollout.exposure[0].size == 1
    return simulation


def see_everybody(simulation: FleetSimulation) -> None:
    for device in simulation.devices.values():
        device.online = True
    simulation.round()


def test_a_stage_that_was_opened_short_takes_what_it_is_owed() -> None:
    simulation = short_canary()
    see_everybody(simulation)
    (canary,) = simulation.rollout.exposure
    assert canary.size == 2
    assert [len(rule.only or ()) for rule in canary.rules] == [2]
    assert simulation.decisions()[-1] == "widen stage"


def test_who_was_admitted_stays_admitted_when_a_stage_is_widened() -> None:
    simulation = short_canary()
    before: tuple[AdmitRule, ...] = simulation.rollout.exposure[0].rules
    see_everybody(simulation)
    assert set(before[0].only or ()) < set(simulation.rollout.exposure[0].rules[0].only or ())


def test_a_widened_rollout_completes() -> None:
    simulation = short_canary()
    see_everybody(simulation)
    simulation.settle(12)
    assert simulation.rollout.phase is Phase.COMPLETED


def test_a_stage_that_soaks_is_not_widened() -> None:
    percent = Stage("half", percent=TWO.gate.success * 50, gate=a_gate(), soak=timedelta(hours=1))
    simulation = FleetSimulation(stages(percent, everybody()), devices=2)
    simulation.commit("1")
    simulation.settle(2)
    assert simulation.rollout.phase is Phase.SOAKING
    for number in range(3, 9):
        simulation.add(f"kiosk-{number:04}")
    simulation.settle(2)
    assert simulation.rollout.exposure[0].size == 1


def canary_of_one() -> tuple[FleetSimulation, str]:
    """One device of four is admitted and then held before it has begun."""
    one = Stage("canary", count=1, gate=a_gate())
    simulation = FleetSimulation(stages(one, everybody()), devices=4)
    simulation.commit("1")
    simulation.heartbeats()
    simulation.plan()
    (place,) = simulation.rollout.exposure[0].rules[0].only or ()
    rollout = simulation.rollout.id
    (canary,) = (name for name in simulation.devices if order(rollout, name) == place)
    simulation.declare(canary, hold=Hold("repair", None))
    return simulation, canary


def test_a_stage_admits_nobody_in_the_place_of_a_device_that_is_held() -> None:
    simulation, canary = canary_of_one()
    simulation.settle(3)
    assert simulation.rollout.exposure[0].size == 1
    assert simulation.rollout.reason.endswith("; of its devices 1 held")
    simulation.declare(canary)
    simulation.round()
    assert simulation.on(simulation.intent.content) == [canary]


def test_a_stage_takes_another_device_for_one_that_has_left_the_fleet() -> None:
    simulation, canary = canary_of_one()
    del simulation.devices[canary]
    simulation.desire(devices={})
    simulation.settle(12)
    assert simulation.rollout.phase is Phase.COMPLETED


def test_a_later_stage_counts_the_devices_that_were_held_since_as_its_own() -> None:
    half = Stage("half", percent=Fraction(50), gate=a_gate(min_finished=0))
    simulation = FleetSimulation(stages(half, Stage("most", percent=Fraction(80))), devices=10)
    content = simulation.commit("1")
    simulation.round()
    for name in simulation.on(content)[:3]:
        simulation.declare(name, hold=Hold("repair", None))
    simulation.settle(2)
    assert [opened.size for opened in simulation.rollout.exposure[:2]] == [5, 8]
