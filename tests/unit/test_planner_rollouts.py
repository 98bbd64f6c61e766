"""What becomes of a rollout: each test is one promise of the planner."""

from fractions import Fraction

import pytest

from reconciler.domain.desired import Policy, Stage
from schemas.wire.manifest import AdmitRule
from schemas.wire.status import Phase
from tests.support.fleet_simulation import (
    Ending,
    FleetSimulation,
    names,
    stages,
)
from tests.support.rollouts import ALL, ONE, PAUSE, ROLLBACK, THREE, all_fail, on_v1, phase_of


def test_a_good_commit_reaches_every_device_stage_by_stage() -> None:
    simulation, _ = on_v1()
    content = simulation.commit("2")
    reached = []
    for _ in range(4):
        simulation.round()
        reached.append(len(simulation.on(content)))

    assert reached == [1, 3, 6, 6]
    assert simulation.rollout.phase is Phase.COMPLETED
    assert (simulation.manifest.next, simulation.manifest.keep) == (None, ())
    assert simulation.manifest.stable is not None
    assert simulation.manifest.stable.set == content.id


def test_a_fleet_without_a_stable_set_stays_until_it_is_admitted() -> None:
    simulation = FleetSimulation(PAUSE, devices=6)
    content = simulation.commit("1")
    simulation.round()

    assert simulation.manifest.stable is None
    assert len(simulation.on(content)) == 1


def test_a_bad_canary_halts_the_rollout_and_nobody_else_gets_it() -> None:
    simulation, first = on_v1()
    bad = simulation.commit("2")
    all_fail(simulation, bad)
    simulation.settle()

    assert (simulation.rollout.phase, simulation.on(first)) == (
        Phase.HALTED,
        names(range(1, 7)),
    )
    assert simulation.manifest.next is not None and simulation.manifest.next.admit == ()
    assert bad.id in simulation.manifest.keep
    assert simulation.rollout.reason == "1 of 1 failed: 1 healthcheck; 100 % must succeed"


def test_a_device_that_was_offline_while_a_rollout_halted_never_gets_it() -> None:
    simulation, first = on_v1(stages(ALL))
    sleeper = simulation.devices["kiosk-0003"]
    sleeper.online = False
    bad = simulation.commit("2")
    simulation.endings["kiosk-0001", bad.id] = Ending.FAILED
    simulation.settle()
    sleeper.online = True
    simulation.settle()

    assert simulation.rollout.phase is Phase.HALTED
    assert sleeper.set == first.id
    assert len(simulation.on(bad)) == 4


def test_a_refused_set_is_not_tried_again_until_git_changes() -> None:
    simulation, _ = on_v1()
    bad = simulation.commit("2")
    all_fail(simulation, bad)
    simulation.settle()
    simulation.endings.clear()
    before = simulation.status
    simulation.desire(project="a commit that changes something else")
    simulation.settle(100)

    assert simulation.status == before
    assert simulation.condition("Stalled")[1] == "Refused"
    assert simulation.condition("Ready")[2].startswith("Git asks for os=kiosk-os@2, which was ref")


def test_rollback_takes_the_set_back_from_those_who_have_it() -> None:
    simulation, first = on_v1(ROLLBACK)
    bad = simulation.commit("2")
    simulation.round()
    simulation.round()
    got_it = simulation.on(bad)
    simulation.endings[None, bad.id] = Ending.FAILED
    simulation.round()
    simulation.round()

    assert len(got_it) == 3
    assert phase_of(simulation) is Phase.ROLLING_BACK
    assert bad.id not in simulation.manifest.keep
    simulation.settle()
    assert phase_of(simulation) is Phase.ROLLED_BACK
    assert simulation.on(first) == names(range(1, 7))
    assert simulation.manifest.next is None


def test_a_rollback_says_how_many_devices_are_still_to_come_back() -> None:
    simulation, _ = on_v1(ROLLBACK)
    bad = simulation.commit("2")
    simulation.round()
    canary = simulation.devices[simulation.on(bad)[0]]
    simulation.endings[None, bad.id] = Ending.FAILED
    simulation.round()
    canary.online = False
    simulation.settle()

    assert phase_of(simulation) is Phase.ROLLING_BACK
    assert simulation.rollout.reason.endswith("; 1 device still on os=kiosk-os@2")
    canary.online = True
    simulation.settle(2)
    assert phase_of(simulation) is Phase.ROLLED_BACK


def test_the_first_rollout_of_a_fleet_has_nothing_to_roll_back_to() -> None:
    simulation = FleetSimulation(ROLLBACK, devices=3)
    all_fail(simulation, simulation.commit("1"))
    simulation.settle()

    assert simulation.rollout.phase is Phase.HALTED
    assert simulation.rollout.reason.endswith("no set was stable before it")


def test_a_release_that_raises_the_epoch_is_halted_instead_of_rolled_back() -> None:
    simulation, _ = on_v1(ROLLBACK)
    all_fail(simulation, simulation.commit("2", epoch=1))
    simulation.settle()

    assert simulation.rollout.phase is Phase.HALTED
    assert simulation.rollout.reason.endswith("kiosk-os@2 raised the epoch from 0 to 1")


@pytest.mark.parametrize("policy", [PAUSE, ROLLBACK], ids=["halted", "rolled back"])
def test_a_revert_brings_every_device_back_at_once(policy: Policy) -> None:
    simulation, first = on_v1(policy)
    bad = simulation.commit("2")
    simulation.round()
    simulation.endings[None, bad.id] = Ending.FAILED
    simulation.settle(3)
    simulation.commit("1")
    simulation.round()

    assert simulation.on(first) == names(range(1, 7))
    assert (simulation.manifest.next, simulation.manifest.keep) == (None, ())
    assert all(entry.closed for entry in simulation.status.ledger)
    assert simulation.decisions()[-1] == "revert"
    assert simulation.condition("Ready")[0]


def test_a_revert_in_the_middle_of_a_healthy_rollout_needs_no_stage() -> None:
    simulation, first = on_v1()
    simulation.commit("2")
    simulation.round()
    simulation.commit("1")
    simulation.round()

    assert (simulation.rollout.phase, len(simulation.on(first))) == (Phase.ABORTED, 6)


def test_a_set_that_is_asked_for_again_after_a_revert_is_a_new_attempt() -> None:
    simulation, _ = on_v1()
    bad = simulation.commit("2")
    all_fail(simulation, bad)
    simulation.settle()
    failed_once = simulation.rollout.id
    simulation.commit("1")
    simulation.round()
    simulation.endings.clear()
    simulation.commit("2")
    simulation.settle()

    assert (simulation.rollout.attempt, simulation.rollout.phase) == (2, Phase.COMPLETED)
    assert simulation.rollout.id != failed_once
    assert len(simulation.on(bad)) == 6
    assert simulation.manifest.attempt == 2
    assert simulation.status.ledger == ()


def test_a_set_that_was_stable_long_ago_is_rolled_out_as_a_new_attempt() -> None:
    simulation, first = on_v1()
    simulation.commit("2")
    simulation.settle()
    simulation.commit("1")
    simulation.plan()
    simulation.round()

    assert (simulation.rollout.attempt, len(simulation.on(first))) == (2, 1)


def test_a_stable_set_is_no_new_attempt_when_git_asked_for_another_in_between() -> None:
    simulation, first = on_v1()
    simulation.commit("2")
    simulation.round()
    simulation.commit("1")
    simulation.settle()

    assert (len(simulation.on(first)), simulation.manifest.attempt) == (6, 1)


def test_superseding_starts_at_stage_one_and_takes_nothing_back() -> None:
    simulation, first = on_v1()
    second = simulation.commit("2")
    simulation.round()
    simulation.round()
    third = simulation.commit("3")
    simulation.round()

    assert len(simulation.on(third)) == 1
    assert len(simulation.on(second)) in (2, 3)
    assert len(simulation.on(first)) + len(simulation.on(second)) == 5
    assert second.id in simulation.manifest.keep
    assert "supersede" in simulation.decisions()
    assert simulation.status.stable is not None and simulation.status.stable.set == first.id


def test_devices_on_a_refused_set_get_the_fix_first() -> None:
    simulation, _ = on_v1(stages(ONE, THREE, ALL))
    bad = simulation.commit("2")
    simulation.round()
    simulation.round()
    stuck = simulation.on(bad)
    simulation.count(simulation.rollout.id, "three", Ending.FAILED)
    simulation.plan()
    assert simulation.rollout.phase is Phase.HALTED
    fix = simulation.commit("3")
    simulation.round()

    assert set(stuck) <= set(simulation.on(fix))
    assert all(entry.closed for entry in simulation.status.ledger)
    assert simulation.manifest.next is not None
    assert simulation.manifest.next.admit[0] == AdmitRule(running=bad.id, stage="one")


def test_devices_that_get_a_fix_first_do_not_use_up_the_stages_of_the_others() -> None:
    simulation, _ = on_v1(stages(ONE, Stage("two", count=2), THREE, ALL), devices=12)
    simulation.commit("2")
    simulation.settle(3)
    simulation.count(simulation.rollout.id, "two", Ending.FAILED)
    simulation.plan()
    fix = simulation.commit("3")
    reached = []
    for _ in range(3):
        simulation.round()
        reached.append(len(simulation.on(fix)))

    assert reached == [4, 5, 6], "three that were on the refused set, and one, two, three others"


def test_the_next_commit_is_tried_on_canaries_even_if_half_the_fleet_runs_a_superseded_one() -> (
    None
):
    simulation, _ = on_v1(stages(ONE, Stage("half", percent=Fraction(50)), ALL))
    simulation.commit("2")
    simulation.round()
    simulation.round()
    third = simulation.commit("3")
    simulation.round()

    assert len(simulation.on(third)) == 1


def test_a_retry_names_the_devices_that_have_the_set_already() -> None:
    simulation, _ = on_v1()
    second = simulation.commit("2")
    simulation.round()
    (has_it,) = simulation.on(second)
    simulation.commit("3")
    simulation.plan()
    simulation.commit("2")
    simulation.plan()

    assert simulation.rollout.attempt == 2
    assert simulation.manifest.next is not None
    assert simulation.manifest.next.admit[-1] == AdmitRule(running=second.id, stage="one")
    assert simulation.target(simulation.devices[has_it]).stage == "one"  # type: ignore[union-attr]  # a fleet has a target
