"""Every store keeps these promises: the one in memory, and the one in SQL."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.sql_store import SqlStore
from reconciler.domain.devices import Candidate
from reconciler.domain.ingest import Submission, Verdict
from reconciler.http.ports import NonceSpent
from schemas.wire.report import Event, FailureClass, Outcome
from schemas.wire.status import Decision, StageCounts
from schemas.wire.types import ComponentRef
from tests.support.gateway_device import NEW_SET, NOW, OLD_SET, SigningDevice, event, heartbeat
from tests.support.gateway_world import (
    ROLLOUT,
    BothStores,
    enrol,
    entry,
    everybody,
    first_report,
    fresh_nonce,
    joined,
    manifest,
    publish,
    stage,
    tell,
)
from tests.support.memory_store import MemoryStore

TIMEOUTS = {ROLLOUT: (timedelta(hours=1), timedelta(minutes=30))}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BothStores]:
    if request.param == "memory":
        yield MemoryStore(lambda: NOW)
        return
    opened = SqlStore.open(f"sqlite:///{tmp_path / 'fleetcd.db'}", lambda: NOW)
    yield opened
    opened.close()


def counts(store: BothStores, after: timedelta = timedelta(0)) -> dict[str, StageCounts]:
    return dict(store.observed(NOW + after, TIMEOUTS).counts.get(ROLLOUT, {}))


def test_a_device_counts_in_the_stage_that_admits_it(store: BothStores) -> None:
    first, second = joined(store, "kiosk-0001", "kiosk-0002")
    publish(store, [first, second], manifest(stage("canary", first), everybody()))
    tell(store, first, event(ROLLOUT))
    tell(store, second, event(ROLLOUT, outcome=Outcome.OK))
    assert counts(store) == {"canary": StageCounts(started=1), "all": StageCounts(started=1, ok=1)}


def test_a_device_that_is_not_admitted_is_not_counted(store: BothStores) -> None:
    first, second = joined(store, "kiosk-0001", "kiosk-0002")
    publish(store, [first, second], manifest(stage("canary", first)))
    tell(store, second, event(ROLLOUT, outcome=Outcome.OK))
    assert counts(store) == {}


@pytest.mark.parametrize(
    "claim",
    [
        event("r-0000000b", outcome=Outcome.OK),
        event(ROLLOUT, outcome=Outcome.OK, attempt=2),
        event(ROLLOUT, outcome=Outcome.OK, set=OLD_SET),
        event(ROLLOUT, outcome=Outcome.OK, attempt=None),
        event(None, outcome=Outcome.OK),
    ],
    ids=["rollout", "attempt", "set", "no attempt", "no rollout"],
)
def test_a_claim_about_something_else_is_not_counted(store: BothStores, claim: Event) -> None:
    (device,) = joined(store, "kiosk-0001")
    publish(store, [device], manifest(everybody()))
    tell(store, device, claim)
    assert counts(store) == {}


def test_a_pinned_device_is_not_counted(store: BothStores) -> None:
    (device,) = joined(store, "kiosk-0001")
    pinned = replace(entry(device), pin={"os": ComponentRef("kiosk-os@1.0", "sha256:" + "a" * 64)})
    store.learn(
        entries={device.key: pinned},
        listed={device.key: device.name},
        manifests={"kiosks": manifest(everybody())},
    )
    tell(store, device, event(ROLLOUT, outcome=Outcome.OK))
    assert counts(store) == {}


def test_a_report_that_came_before_the_news_counts_when_the_news_comes(store: BothStores) -> None:
    (device,) = joined(store, "kiosk-0001")
    tell(store, device, event(ROLLOUT, outcome=Outcome.FAILED, failure=FailureClass.HEALTHCHECK))
    assert counts(store) == {}
    publish(store, [device], manifest(everybody("canary")))
    failed = StageCounts(started=1, failed=1, failures={"healthcheck": 1})
    assert counts(store) == {"canary": failed}


def test_a_late_report_of_a_halted_rollout_still_counts(store: BothStores) -> None:
    first, second = joined(store, "kiosk-0001", "kiosk-0002")
    publish(store, [first, second], manifest(stage("canary", first, second)))
    publish(store, [first, second], manifest())
    tell(store, second, event(ROLLOUT, outcome=Outcome.FAILED))
    assert counts(store)["canary"].failed == 1


def test_an_attempt_keeps_its_stage_when_the_manifest_changes(store: BothStores) -> None:
    (device,) = joined(store, "kiosk-0001")
    publish(store, [device], manifest(stage("canary", device)))
    tell(store, device, event(ROLLOUT))
    publish(store, [device], manifest(everybody("all")))
    tell(store, device, event(ROLLOUT, outcome=Outcome.OK))
    assert counts(store) == {"canary": StageCounts(started=1, ok=1)}


@pytest.mark.parametrize("order", ["ok then failed", "failed then ok"])
def test_a_device_has_one_vote_and_a_failure_wins(store: BothStores, order: str) -> None:
    (device,) = joined(store, "kiosk-0001")
    publish(store, [device], manifest(everybody()))
    outcomes = [Outcome.OK, Outcome.FAILED]
    for outcome in outcomes if order == "ok then failed" else reversed(outcomes):
        tell(store, device, event(ROLLOUT, outcome=outcome))
    expected = StageCounts(started=1, failed=1, failures={"unknown": 1})
    assert counts(store) == {"all": expected}


def test_a_neutral_outcome_gives_way_to_a_real_one(store: BothStores) -> None:
    (device,) = joined(store, "kiosk-0001")
    publish(store, [device], manifest(everybody()))
    tell(store, device, event(ROLLOUT, outcome=Outcome.NEUTRAL))
    assert counts(store) == {"all": StageCounts(started=1, neutral=1)}
    tell(store, device, event(ROLLOUT, outcome=Outcome.OK))
    assert counts(store) == {"all": StageCounts(started=1, ok=1)}


def test_an_event_is_taken_once_by_its_id(store: BothStores) -> None:
    (device,) = joined(store, "kiosk-0001")
    publish(store, [device], manifest(everybody()))
    once = event(ROLLOUT, outcome=Outcome.OK)
    tell(store, device, once, once)
    tell(store, device, once)
    assert counts(store) == {"all": StageCounts(started=1, ok=1)}


def test_an_event_that_comes_again_after_it_was_forgotten_is_not_counted_again(
    store: BothStores,
) -> None:
    (device,) = joined(store, "kiosk-0001")
    publish(store, [device], manifest(everybody()))
    once = event(ROLLOUT, outcome=Outcome.OK)
    tell(store, device, once)
    later = NOW + timedelta(days=365)
    tell(store, device, event(None), at=later)
    tell(store, device, once, at=later)
    assert counts(store) == {"all": StageCounts(started=1, ok=1)}


def test_an_attempt_that_went_silent_is_overdue_until_it_ends(store: BothStores) -> None:
    (device,) = joined(store, "kiosk-0001")
    publish(store, [device], manifest(everybody()))
    tell(store, device, event(ROLLOUT, state="install"))
    assert counts(store, timedelta(minutes=59))["all"].overdue == 0
    assert counts(store, timedelta(minutes=61))["all"].overdue == 1
    tell(store, device, event(ROLLOUT, outcome=Outcome.OK))
    assert counts(store, timedelta(minutes=61))["all"].overdue == 0


def test_an_event_that_is_repeated_does_not_make_a_silent_attempt_look_alive(
    store: BothStores,
) -> None:
    (device,) = joined(store, "kiosk-0001")
    publish(store, [device], manifest(everybody()))
    once = event(ROLLOUT, state="install")
    tell(store, device, once)
    tell(store, device, once, at=NOW + timedelta(minutes=50))
    assert counts(store, timedelta(minutes=61))["all"].overdue == 1


@pytest.mark.parametrize(("state", "overdue"), [("reboot", 1), ("reboot-wait", 0)])
def test_a_device_that_does_not_come_back_is_overdue_sooner(
    store: BothStores, state: str, overdue: int
) -> None:
    (device,) = joined(store, "kiosk-0001")
    publish(store, [device], manifest(everybody()))
    tell(store, device, event(ROLLOUT, state=state))
    assert counts(store, timedelta(minutes=31))["all"].overdue == overdue


def test_a_report_is_taken_once_by_its_number(store: BothStores) -> None:
    (device,) = joined(store, "kiosk-0001")
    report = Submission(device.report())
    verdicts = [each.verdict for each in store.ingest([report, report], NOW)]
    assert verdicts == [Verdict.TAKEN, Verdict.REPEATED]
    (receipt,) = store.ingest([report], NOW)
    assert (receipt.verdict, receipt.last_seq) == (Verdict.REPEATED, device.seq)


def test_a_new_journal_needs_a_nonce_and_each_nonce_starts_one(store: BothStores) -> None:
    (device,) = joined(store, "kiosk-0001")
    other = replace(device, journal="f" * 32, seq=0)
    (refused,) = store.ingest([Submission(other.report())], NOW)
    assert (refused.verdict, refused.journal) == (Verdict.NEW_JOURNAL, device.journal)
    nonce = fresh_nonce()
    (taken,) = store.ingest([Submission(other.report(), nonce)], NOW)
    assert taken.verdict is Verdict.TAKEN
    (again,) = store.ingest([Submission(device.report(), nonce)], NOW)
    assert again.verdict is Verdict.NONCE_SPENT


def test_only_accepted_devices_are_heard(store: BothStores) -> None:
    pending, stranger = SigningDevice("kiosk-0001"), SigningDevice("kiosk-0002")
    enrol(store, pending)
    receipts = store.ingest([first_report(pending), first_report(stranger)], NOW)
    assert [each.verdict for each in receipts] == [Verdict.NOT_ACCEPTED, Verdict.UNKNOWN]
    assert store.observed(NOW, {}).seen == {}


def test_running_devices_are_counted_by_fleet_and_set(store: BothStores) -> None:
    first, second = joined(store, "kiosk-0001", "kiosk-0002")
    for device in (first, second):
        store.ingest([Submission(device.report(heartbeat=heartbeat(OLD_SET)))], NOW)
    assert store.observed(NOW, {}).running == {"kiosks": {OLD_SET: 2}}
    store.ingest([Submission(first.report(heartbeat=heartbeat(NEW_SET)))], NOW)
    assert store.observed(NOW, {}).running == {"kiosks": {OLD_SET: 1, NEW_SET: 1}}
    publish(store, [first])
    assert store.observed(NOW, {}).running == {"kiosks": {NEW_SET: 1}}


def test_what_a_device_says_is_seen(store: BothStores) -> None:
    (device,) = joined(store, "kiosk-0001")
    later = NOW + timedelta(minutes=1)
    beat = heartbeat(OLD_SET, facts={"hardware": "rpi4"})
    store.ingest([Submission(device.report(heartbeat=beat))], later)
    seen = store.observed(later, {}).seen[device.key]
    assert (seen.last_seen, seen.running, seen.facts) == (later, OLD_SET, {"hardware": "rpi4"})


def test_an_empty_store_asks_for_the_last_outcome_and_counts_it_once(store: BothStores) -> None:
    device = SigningDevice("kiosk-0001")
    assert store.restore({device.key: entry(device)}) == 1
    publish(store, [device], manifest(everybody()))
    last = event(ROLLOUT, outcome=Outcome.FAILED, failure=FailureClass.REBOOT)
    (asked,) = store.ingest([first_report(device, heard=heartbeat())], NOW)
    assert asked.resync
    beat = heartbeat(last_outcome=last)
    (told,) = store.ingest([Submission(device.report(heartbeat=beat))], NOW)
    (again,) = store.ingest([Submission(device.report(heartbeat=beat))], NOW)
    assert not told.resync
    assert not again.resync
    assert counts(store) == {"all": StageCounts(started=1, failed=1, failures={"reboot": 1})}


def test_a_device_without_an_outcome_is_not_asked_for_ever(store: BothStores) -> None:
    (device,) = joined(store, "kiosk-0001")
    asked = [
        store.ingest([Submission(device.report(heartbeat=heartbeat()))], NOW)[0].resync
        for _ in range(5)
    ]
    assert asked == [True, True, False, False, False]


def test_restoring_again_changes_nothing(store: BothStores) -> None:
    device = SigningDevice("kiosk-0001")
    store.restore({device.key: entry(device, site="paris")})
    version = store.devices_version()
    assert store.restore({device.key: entry(device, site="paris")}) == 0
    assert store.devices_version() == version
    assert [each.labels for each in store.observed(NOW, {}).enrolled] == [{"site": "paris"}]


def test_a_spent_nonce_enrols_nobody(store: BothStores) -> None:
    device, nonce = SigningDevice("kiosk-0001"), fresh_nonce()
    candidate = Candidate(device.key, device.name, device.public_key)
    store.enrol(candidate, nonce, NOW, max_pending=10)
    assert store.enrol(candidate, nonce, NOW, max_pending=10) == NonceSpent()


def test_a_decision_is_recorded_once_and_read_newest_first(store: BothStores) -> None:
    old = Decision(NOW, "start", "a new set", ROLLOUT)
    new = Decision(NOW + timedelta(seconds=5), "open stage", "1 of 1", ROLLOUT, "all")
    store.record("kiosks", [old])
    store.record("kiosks", [old, new])
    store.record("tills", [old])
    expected = (("kiosks", new), ("kiosks", old))
    assert store.history(fleet="kiosks", rollout=ROLLOUT, limit=10) == expected
    assert store.history(fleet="kiosks", rollout=None, limit=1) == (("kiosks", new),)
