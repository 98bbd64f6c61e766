"""What people and policies do to a rollout under way, and what is published of it."""

from datetime import timedelta
from fractions import Fraction

import pytest

from reconciler.domain.desired import Gate, OnFailure, Policy, Stage
from reconciler.domain.open_stages import timeouts
from reconciler.domain.planner import Hints
from schemas.wire.decode import encode
from schemas.wire.status import STATUS_LIMIT, Phase
from tests.support.fleet_simulation import (
    FLEET,
    Ending,
    FleetSimulation,
    a_gate,
    everybody,
    stages,
)
from tests.support.rollouts import ALL, ONE, PAUSE, THREE, all_fail, on_v1


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


def test_timeouts_hold_while_the_policy_has_lost_the_stage_that_is_open() -> None:
    """Otherwise a device that vanished would be waited for as long as the rollout lives."""
    simulation, _ = on_v1(stages(ONE, ALL))
    simulation.commit("2")
    simulation.round()
    limits = Gate(attempt_timeout=timedelta(minutes=7), report_lost=timedelta(minutes=3))
    simulation.intend(policy=stages(everybody("renamed", gate=limits)))

    found = timeouts(simulation.desired, simulation.statuses)
    assert found == {simulation.rollout.id: (limits.attempt_timeout, limits.report_lost)}


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
