"""What a reconciler goes on with after a restart, and after its database was lost."""

from pathlib import Path

import pytest

from reconciler.conditions import COMMIT, SOURCE
from schemas.wire.report import FailureClass, Outcome
from schemas.wire.status import Phase
from tests.support.gateway_device import event, heartbeat
from tests.support.reconciling import errors, log_lines, passes, rolled_out


def test_the_served_commit_goes_on_after_a_restart_without_git(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    there.upstream.bare.rename(tmp_path / "away")
    reconciler = there.start()
    passes(reconciler)
    assert not there.condition(SOURCE).status
    assert there.condition(COMMIT).status
    there.succeed(there.by_order()[0])
    passes(reconciler)
    assert there.stages() == ["canary", "all"]


def test_the_served_commit_goes_on_after_a_restart_onto_a_bad_commit(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    good = there.project.commit
    bad = there.push("policies.yaml", "kind: Nothing\n")
    reconciler = there.start()
    passes(reconciler)
    assert (there.project.commit, there.project.attempted) == (good, bad)
    assert not there.condition(COMMIT).status
    there.succeed(there.by_order()[0])
    passes(reconciler)
    assert there.stages() == ["canary", "all"]


def test_a_commit_that_was_never_published_does_not_take_the_served_one_s_place(
    tmp_path: Path,
) -> None:
    there = rolled_out(tmp_path)
    good = there.project.commit
    there.ship("2", signed=False)
    passes(there.start())
    reconciler = there.start()
    passes(reconciler)
    assert there.project.commit == good
    there.succeed(there.by_order()[0])
    passes(reconciler)
    assert there.stages() == ["canary", "all"]


def test_a_mirror_that_was_lost_is_fetched_again_and_the_served_commit_found(
    tmp_path: Path,
) -> None:
    there = rolled_out(tmp_path)
    there.push("policies.yaml", "kind: Nothing\n")
    (tmp_path / "state" / "git" / "sha1.git").rename(tmp_path / "away")
    reconciler = there.start()
    passes(reconciler)
    there.succeed(there.by_order()[0])
    passes(reconciler)
    assert there.stages() == ["canary", "all"]


@pytest.mark.parametrize("when", ["running", "stopped"])
def test_a_lost_database_costs_no_device_and_no_rollout(tmp_path: Path, when: str) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    canary, *others = there.by_order()
    there.succeed(canary)
    passes(reconciler)
    before = there.status
    if when == "stopped":
        there.store.close()
    there.lose_database()
    if when == "stopped":
        there.store = there.open_store()
        reconciler = there.start()
    with log_lines() as lines:
        passes(reconciler)
    assert not errors(lines)
    restored = [line for line in lines if line["event"].startswith("devices restored")]
    assert [line["devices"] for line in restored] == ([3] if when == "running" else [])
    assert there.status.rollout is not None and before.rollout is not None
    assert there.status.rollout.id == before.rollout.id
    assert there.stages() == ["canary", "all"]
    assert set(there.view.entries()) == {device.key for device in there.devices}
    for device in others:
        assert there.succeed(device).status == 200, "known again, after a resync"
    assert there.succeed(canary).json["ack"] == canary.seq
    passes(reconciler)
    assert there.status.rollout.phase is Phase.COMPLETED


def test_a_refused_release_stays_refused_when_the_database_is_lost(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    canary, following = there.by_order()[0], there.manifest.next
    assert following is not None
    failed = event(
        following.rollout,
        outcome=Outcome.FAILED,
        failure=FailureClass.HEALTHCHECK,
        set=following.set,
        attempt=1,
    )
    assert there.report(canary, failed, heard=heartbeat()).status == 200
    passes(reconciler)
    ledger = there.status.ledger
    assert len(ledger) == 1
    there.lose_database()
    passes(reconciler)
    passes(there.start())
    assert there.status.ledger == ledger
    assert there.manifest.next is not None and there.manifest.next.admit == ()


def test_a_device_that_asked_to_join_before_it_was_restored_is_accepted(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    device = there.devices[0]
    passes(there.start())
    there.push("inventory.yaml", "")  # Git does not list it any more; it stays accepted
    reconciler = there.start()
    passes(reconciler)
    there.lose_database()
    nonce = there.gateway("GET", "/v1/nonce").json["nonce"]
    body = device.sign(device.enrol_claims(nonce, there.watch.now), typ="fleetcd-enrol+jws")
    assert there.gateway("POST", "/v1/enrol", body).json["state"] == "pending"
    passes(reconciler)
    assert there.report(device, heard=heartbeat()).status == 200


def test_a_database_of_another_process_is_noticed_by_the_gateway(tmp_path: Path) -> None:
    there = rolled_out(tmp_path)
    reconciler = there.start()
    passes(reconciler)
    theirs, there.store = there.store, there.open_store()
    there.lose_database()
    passes(reconciler, 1)
    assert there.report(there.devices[0], heard=heartbeat()).status == 200
    assert theirs.observed(there.watch.now, {}).seen.keys() == {there.devices[0].key}
