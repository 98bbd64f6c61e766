"""What becomes of a rollout: each test is one promise of the planner."""

from datetime import timedelta
from fractions import Fraction

import pytest

from reconciler.domain.desired import OnFailure, Policy, Stage
from reconciler.domain.planner import Hints
from schemas.wire.decode import encode
from schemas.wire.manifest import AdmitRule
from schemas.wire.status import STATUS_LIMIT, Phase
from schemas.wire.types import ComponentSet
from tests.support.fleet_simulation import (
    FLEET,
    Ending,
    FleetSimulation,
    a_gate,
    everybody,
    names,
    stages,
)

ONE, THREE, ALL = Stage("one", count=1), Stage("three", count=3), everybody()
PAUSE = stages(ONE, THREE, ALL)
ROLLBACK = stages(ONE, THREE, ALL, on_failure=OnFailure.ROLLBACK)


def on_v1(policy: Policy = PAUSE, *, devices: int = 6) -> tuple[FleetSimulation, ComponentSet]:
    """Return a fleet all of whose devices run version 1, which is stable."""
    simulation = FleetSimulation(policy, devices=devices)
    content = simulation.commit("1")
    simulation.settle(8)
    assert simulation.status.stable is not None and len(simulation.on(content)) == devices
    return simulation, content


def all_fail(simulation: FleetSimulation, content: ComponentSet) -> None:
    simulation.endings[None, content.id] = Ending.FAILED


def phase_of(simulation: FleetSimulation) -> Phase:
    """Return the phase now; a type checker would take a property for what it was before."""
    return simulation.rollout.phase


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


def test_a_suspended_fleet_admits_nobody_and_takes_nothing_back() -> None:
    simulation, _ = on_v1()
    content = simulation.commit("2")
    simulation.round()
    simulation.suspend("trade fair")
    simulation.settle()

    assert simulation.rollout.phase is Phase.PAUSED
    assert len(simulation.on(content)) == 1
    assert simulation.manifest.next is not None and simulation.manifest.next.admit == ()
    assert simulation.condition("Ready")[2] == "suspended: trade fair"


def test_a_resumed_rollout_goes_on_where_it_was() -> None:
    simulation, _ = on_v1()
    content = simulation.commit("2")
    simulation.round()
    exposure = simulation.rollout.exposure
    simulation.suspend("trade fair")
    simulation.settle(3)
    simulation.suspend(None)
    simulation.plan()

    assert simulation.rollout.exposure[0].rules == exposure[0].rules
    simulation.settle()
    assert len(simulation.on(content)) == 6
    assert [k for k in simulation.decisions() if k in ("pause", "resume")] == ["pause", "resume"]


def test_nothing_starts_in_a_suspended_fleet() -> None:
    simulation, _ = on_v1()
    simulation.suspend("trade fair")
    simulation.commit("2")
    simulation.settle()

    assert simulation.manifest.next is None
    assert simulation.condition("Stalled") == (True, "Suspended", "suspended: trade fair")


def test_a_withdrawn_release_goes_no_further() -> None:
    simulation, _ = on_v1()
    content = simulation.commit("2")
    simulation.round()
    simulation.desire(withdrawn={"kiosk-os@2": "eats batteries"})
    simulation.settle()

    assert (simulation.rollout.phase, len(simulation.on(content))) == (Phase.PAUSED, 1)
    assert simulation.rollout.reason == "kiosk-os@2 was withdrawn: eats batteries"


@pytest.mark.parametrize(
    ("on_failure", "phase"),
    [(OnFailure.PAUSE, Phase.HALTED), (OnFailure.ROLLBACK, Phase.ROLLED_BACK)],
)
def test_a_deadline_that_passes_is_a_failure(on_failure: OnFailure, phase: Phase) -> None:
    policy = Policy("slow", (Stage("s", count=1, soak=timedelta(days=30)), ALL), on_failure)
    simulation, _ = on_v1()
    simulation.intend(
        policy=Policy(policy.name, policy.stages, on_failure, deadline=timedelta(days=14))
    )
    simulation.commit("2")
    simulation.round()
    simulation.round(minutes=14 * 24 * 60)
    simulation.settle(2)

    assert simulation.rollout.phase is phase
    assert simulation.rollout.reason == "the deadline of 14d passed before everybody had it"


def test_a_late_failure_of_a_stage_that_passed_still_stops_the_rollout() -> None:
    gate = a_gate(min_coverage=50)
    policy = stages(
        Stage("four", count=4, gate=gate),
        Stage("most", percent=Fraction(90), soak=timedelta(days=1)),
        ALL,
    )
    simulation, _ = on_v1(stages(ALL), devices=20)
    simulation.intend(policy=policy)
    second = simulation.commit("2")
    simulation.heartbeats()
    simulation.plan()
    rollout = simulation.rollout.id
    for _ in range(2):
        simulation.count(rollout, "four", Ending.OK)
    simulation.plan()
    assert len(simulation.rollout.exposure) == 2
    simulation.count(rollout, "four", Ending.FAILED)
    simulation.plan()

    assert simulation.rollout.phase is Phase.HALTED
    assert simulation.status.ledger[-1].set == second.id


def test_a_policy_that_is_edited_in_mid_rollout_keeps_what_was_opened() -> None:
    simulation, _ = on_v1()
    content = simulation.commit("2")
    simulation.round()
    simulation.round()
    before = simulation.rollout.exposure
    simulation.intend(policy=stages(ONE, Stage("two", count=2), THREE, Stage("five", count=5), ALL))
    simulation.round()

    assert [o.stage for o in simulation.rollout.exposure] == ["one", "three", "five"]
    assert simulation.rollout.exposure[0].rules == before[0].rules
    assert len(simulation.on(content)) == 5


def test_a_policy_whose_stages_all_changed_goes_through_all_of_them() -> None:
    simulation, _ = on_v1()
    content = simulation.commit("2")
    simulation.round()
    simulation.round()
    simulation.intend(policy=stages(Stage("a", count=2), Stage("b", count=4), everybody("c")))
    simulation.settle()

    assert [o.stage for o in simulation.rollout.exposure] == ["one", "three", "a", "b", "c"]
    assert (simulation.rollout.phase, len(simulation.on(content))) == (Phase.COMPLETED, 6)


def test_a_stage_that_grew_to_everybody_under_its_old_name_is_followed_by_one_for_everybody() -> (
    None
):
    simulation, _ = on_v1(stages(Stage("last", percent=Fraction(50)), everybody("x")))
    simulation.commit("2")
    simulation.round()
    simulation.intend(policy=stages(everybody("last")))
    simulation.plan()

    assert [o.stage for o in simulation.rollout.exposure] == ["last", "all-1"]


def test_an_approval_is_waited_for() -> None:
    simulation, _ = on_v1(stages(ALL))
    simulation.intend(policy=stages(Stage("one", count=1, approval=2), ALL))
    content = simulation.commit("2")
    simulation.settle()

    assert (simulation.rollout.phase, len(simulation.on(content))) == (Phase.AWAITING_APPROVAL, 1)
    assert simulation.rollout.reason.endswith("; 2 must approve before all opens")


def test_a_soak_is_shown_by_its_end_and_published_once() -> None:
    simulation, _ = on_v1(stages(ALL))
    simulation.intend(policy=stages(Stage("one", count=1, soak=timedelta(hours=2)), ALL))
    simulation.commit("2")
    simulation.settle(3)
    soaking = simulation.status
    simulation.settle(30)

    assert soaking.rollout is not None and soaking.rollout.phase is Phase.SOAKING
    assert "soaking until 2026-11-24 14:" in soaking.rollout.reason
    assert simulation.status == soaking
    simulation.round(minutes=120)
    assert len(simulation.rollout.exposure) == 2


def test_an_offline_straggler_does_not_keep_a_rollout_from_completing() -> None:
    simulation, _ = on_v1()
    simulation.devices["kiosk-0002"].online = False
    simulation.now += timedelta(days=1)
    content = simulation.commit("2")
    simulation.settle()
    assert simulation.rollout.phase is Phase.COMPLETED
    simulation.devices["kiosk-0002"].online = True
    simulation.settle(2)

    assert len(simulation.on(content)) == 6


def test_a_last_stage_that_finds_only_stragglers_completes_without_them() -> None:
    simulation, _ = on_v1(stages(ONE, ALL), devices=2)
    simulation.devices["kiosk-0002"].online = False
    simulation.now += timedelta(days=1)
    content = simulation.commit("2")
    simulation.settle()

    assert (simulation.rollout.phase, simulation.on(content)) == (Phase.COMPLETED, ["kiosk-0001"])


def test_times_are_kept_as_they_are_published() -> None:
    simulation = FleetSimulation(devices=1)
    simulation.now += timedelta(microseconds=123_456)
    simulation.commit("1")
    simulation.heartbeats()
    planned = simulation.plan()

    assert planned.statuses == simulation.statuses
    assert planned.manifests == simulation.manifests


def test_deleting_a_fleet_holds_its_devices_as_they_are() -> None:
    simulation, first = on_v1()
    second = simulation.commit("2")
    simulation.round()
    before = {name: device.set for name, device in simulation.devices.items()}
    straggler = simulation.devices["kiosk-0001"]
    straggler.running, before["kiosk-0001"] = None, None
    simulation.desire(fleets={})
    simulation.settle()

    assert {name: device.set for name, device in simulation.devices.items()} == before
    assert {first.id, second.id} < set(before.values())
    assert simulation.manifest.next is None and simulation.manifest.stop is not None
    assert simulation.condition("Ready")[1] == "FleetDeleted"
    assert simulation.target(straggler).reason.startswith("stopped by Git: the Fleet's file")  # type: ignore[union-attr]  # a fleet has a target


def test_a_fleet_that_comes_back_goes_on_with_what_was_stable() -> None:
    simulation, first = on_v1()
    fleets = simulation.desired.fleets
    simulation.desire(fleets={})
    simulation.settle(2)
    simulation.desire(fleets=fleets)
    simulation.settle(2)

    assert simulation.manifest.stop is None
    assert (simulation.status.stable and simulation.status.stable.set) == first.id
    assert simulation.condition("Ready")[0]


def test_a_lost_database_loses_no_rollout() -> None:
    simulation, _ = on_v1()
    content = simulation.commit("2")
    simulation.round()
    simulation.round()
    exposure = simulation.rollout.exposure
    simulation.counts.clear()
    for device in simulation.devices.values():
        device.seen = None
    simulation.plan()

    assert [o.rules for o in simulation.rollout.exposure] == [o.rules for o in exposure]
    assert simulation.rollout.phase is Phase.PROGRESSING
    simulation.round()
    assert len(simulation.on(content)) == 3


def test_generation_rises_only_when_the_manifest_means_something_else() -> None:
    simulation, _ = on_v1()
    before = simulation.manifest
    simulation.desire(project="another commit")
    simulation.round()
    assert simulation.manifest is not None and simulation.manifest == before
    simulation.commit("2")
    simulation.round()

    assert simulation.manifest.generation == before.generation + 1
    assert simulation.manifest.commit == simulation.desired.commit


def test_the_manifest_hints_at_faster_polls_while_the_fleet_rolls_out() -> None:
    simulation, _ = on_v1()
    polls = [simulation.manifest.poll]
    simulation.commit("2")
    simulation.plan(Hints(poll=300, poll_rolling=60, fresh_for=None))
    polls.append(simulation.manifest.poll)

    assert (polls, simulation.manifest.fresh_for) == ([300, 60], None)


def test_silence_is_measured_by_the_heartbeat_at_rest_until_devices_know_of_the_rollout() -> None:
    simulation, _ = on_v1(stages(ALL))
    simulation.now += timedelta(hours=2)
    simulation.commit("2")
    simulation.plan()
    assert simulation.rollout.exposure[0].counts.reachable == 6
    simulation.now += timedelta(minutes=25)
    simulation.plan()

    assert simulation.rollout.exposure[0].counts.reachable == 0


def test_the_status_stays_small_however_often_git_changes() -> None:
    simulation, _ = on_v1(devices=1)
    for version in range(60):
        bad = simulation.commit(f"bad-{version}")
        all_fail(simulation, bad)
        simulation.round()
        simulation.round()

    assert len(encode(simulation.status)) < STATUS_LIMIT / 8
    assert (len(simulation.status.ledger), len(simulation.status.decisions)) == (50, 50)


def test_conditions_say_since_when() -> None:
    simulation, _ = on_v1()
    since = {c.type: c.since for c in simulation.status.conditions}
    simulation.commit("2")
    simulation.round()
    started = simulation.now
    simulation.round()

    now_since = {c.type: c.since for c in simulation.status.conditions}
    assert now_since == {**since, "Ready": started, "Reconciling": started}


def test_another_fleet_is_left_alone() -> None:
    simulation, _ = on_v1()
    simulation.plan()
    manifest, status = simulation.manifests[FLEET], simulation.statuses[FLEET]
    other = simulation.desired.fleets[FLEET]
    simulation.desire(
        fleets={
            FLEET: other,
            "tills": type(other)("tills", "product=till", 0, other.content, PAUSE),
        }
    )
    planned = simulation.plan()

    assert planned.statuses.keys() == {FLEET, "tills"}
    assert (simulation.manifests[FLEET], simulation.statuses[FLEET]) == (manifest, status)
