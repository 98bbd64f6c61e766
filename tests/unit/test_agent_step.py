"""A poll: what begins, what is refused, what is remembered, what is said."""
# ruff: noqa: ARG002 - ports' shapes

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from device_agent.boot.firmware import boot
from device_agent.driver import Result
from device_agent.errors import UpdateRejected
from device_agent.outlook import outlook, report_due
from device_agent.step import Stepped
from schemas.refusal import Code
from schemas.wire.descriptor import Descriptor, Scope
from schemas.wire.manifest import Stable
from schemas.wire.report import EventKind, FailureClass, Outcome
from schemas.wire.shard import Hold
from tests.support.agent_fakes import (
    ENTRY,
    FakeInstaller,
    Rebooted,
    a_descriptor,
    a_trusted,
)
from tests.support.documents import NOW
from tests.support.polling_device import APP1, APP2, NETWORK, Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path, APP1, APP2)


def test_a_device_converges_to_what_the_manifest_says_and_then_stays(device: Device) -> None:
    device.wants(APP1)
    assert device.poll() == Stepped(Result.IDLE, worked=True)
    assert device.last_word.outcome is Outcome.OK
    calls = list(device.installer.calls)
    assert device.poll() == Stepped(Result.IDLE, worked=False)
    assert device.installer.calls == calls


def test_nothing_is_done_while_the_tree_cannot_be_reached(device: Device) -> None:
    done = device.poll()
    assert (done.worked, done.trouble) == (False, str(NETWORK))
    assert device.journal.recall("stale")
    device.wants(APP1)
    device.poll()
    assert not device.journal.recall("stale")


def test_a_refused_tree_is_reported_once_and_changes_nothing(device: Device) -> None:
    refused = UpdateRejected(Code.ROLLBACK, "timestamp 6 < 7", FailureClass.SIGNATURE)
    device.trust.answers = [refused]
    for _ in range(3):
        assert device.poll().trouble
    (event,) = [event for event in device.reporter.heard if event.kind is EventKind.REFUSED]
    assert (event.code, event.message) == ("E_ROLLBACK", "timestamp 6 < 7")
    assert device.installer.calls == []


def test_a_release_that_no_release_key_signed_is_refused_and_changes_nothing(
    device: Device,
) -> None:
    manifest = device.wants(a_descriptor("invented", installer="files"))
    assert device.poll().trouble
    (event,) = [event for event in device.reporter.heard if event.kind is EventKind.REFUSED]
    assert (event.code, event.set) == ("E_NOT_RELEASED", manifest.next and manifest.next.set)
    assert device.journal.record() is None
    assert device.journal.failed() == {}


def test_a_device_without_an_entry_or_a_manifest_keeps_what_it_has(device: Device) -> None:
    device.trust.answers = [a_trusted(None, None), a_trusted(None)]
    assert device.poll() == Stepped(Result.IDLE, worked=False)
    assert device.poll() == Stepped(Result.IDLE, worked=False)


def an_app3(
    *, epoch: int = 1, compatible: str = "hardware=x86", upgrade_from: str | None = None
) -> Descriptor:
    return a_descriptor(
        "kiosk-app",
        "3",
        installer="files",
        scope=Scope.DATA,
        epoch=epoch,
        compatible=compatible,
        upgrade_from=upgrade_from,
    )


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        pytest.param(an_app3(compatible="hardware=arm"), "E_COMPAT", id="other hardware"),
        pytest.param(an_app3(upgrade_from=">=1.5"), "E_COMPAT", id="a barrier"),
        pytest.param(an_app3(epoch=0), "E_DOWNGRADE", id="an epoch below the floor"),
    ],
)
def test_what_must_not_be_installed_here_fails_before_anything_is_downloaded(
    device: Device, bad: Descriptor, code: str
) -> None:
    first = device.wants(APP1)
    assert first.next
    stable = Stable(first.next.set, 1, first.next.components, {}, {})
    device.wants(APP1, stable=stable)
    device.poll()
    device.poll()  # the floor rises when what runs is stable
    calls = list(device.installer.calls)
    device.trust.descriptors = {**device.trust.descriptors, bad.release: bad}
    manifest = device.wants(bad, stable=stable)
    device.poll()
    assert (device.last_word.outcome, device.last_word.code) == (Outcome.FAILED, code)
    assert device.installer.calls == calls
    assert manifest.next and device.journal.failed() == {manifest.next.set: 1}


def test_a_set_that_failed_is_not_tried_again_until_the_attempt_rises(device: Device) -> None:
    broken = UpdateRejected(Code.HASH, "wrong digest", FailureClass.CHECKSUM)
    device.installer.errors = {"download": broken}
    manifest = device.wants(APP1)
    device.poll()
    for _ in range(3):
        assert device.poll() == Stepped(Result.IDLE, worked=False)
    assert device.installer.calls.count("download kiosk-app") == 1
    device.installer.errors = {}
    device.trust.answers = [a_trusted(replace(manifest, attempt=2))]
    device.poll()
    assert device.last_word.outcome is Outcome.OK


def test_the_epoch_floor_rises_only_when_the_running_set_is_stable(device: Device) -> None:
    manifest = device.wants(APP2)
    device.poll()
    device.poll()
    assert device.journal.epochs() == {}
    assert manifest.next
    stable = Stable(manifest.next.set, 1, manifest.next.components, {}, {})
    device.trust.answers = [a_trusted(replace(manifest, next=None, stable=stable))]
    device.poll()
    assert device.journal.epochs() == {"kiosk-app": 2}


def test_a_withdrawn_release_that_runs_does_not_keep_the_next_one_away(device: Device) -> None:
    manifest = device.wants(APP2)
    device.poll()
    assert manifest.next
    stable = Stable(manifest.next.set, 1, manifest.next.components, {}, {})
    device.trust.descriptors = {APP1.release: APP1}
    remedy = device.wants(APP1, stable=stable)
    device.poll()
    assert remedy.next
    assert device.last_word.set == remedy.next.set
    assert device.journal.epochs() == {}


@pytest.mark.parametrize("years", [-40, 40])
def test_a_hold_ends_by_the_trees_time_on_a_device_whose_clock_is_off(
    device: Device, years: int
) -> None:
    manifest = device.wants(APP1)
    hold = Hold("audit", until=NOW + timedelta(hours=1))
    device.clock.time = NOW + timedelta(days=365 * years)
    device.trust.answers = [a_trusted(manifest, replace(ENTRY, hold=hold))]
    device.poll()
    assert device.installer.calls == [], "not over, whatever a clock of 40 years later says"
    later = a_trusted(manifest, replace(ENTRY, hold=hold))
    device.trust.answers = [replace(later, issued=NOW + timedelta(hours=2))]
    device.poll()
    assert device.last_word.outcome is Outcome.OK


def test_no_manifest_makes_a_device_silent_for_longer_than_a_day(device: Device) -> None:
    device.wants(APP1, poll=10**9)
    device.poll()
    assert outlook(device.journal, reports=False).hint == 24 * 3600


def test_a_heartbeat_says_what_runs_and_how_it_ended(device: Device) -> None:
    manifest = device.wants(APP1)
    device.poll()
    beat = device.reporter.beats[-1]
    assert manifest.next
    assert (beat.set, beat.running, beat.state) == (
        manifest.next.set,
        manifest.next.content,
        "idle",
    )
    assert beat.last_outcome == device.last_word
    assert (beat.fleet, beat.timestamp_version, beat.agent) == (ENTRY.fleet, 7, "agent/1")


def test_the_start_of_a_deployment_is_reported_before_its_work(device: Device) -> None:
    heard: list[int] = []

    class Watching(FakeInstaller):
        def _call(self, name: str, component: object) -> None:
            heard.append(len(device.reporter.heard))

    device.installer = Watching()
    device.wants(APP1)
    device.poll()
    assert heard[0] == 1, "or nobody knows that a long download goes on"


def test_no_report_gates_anything(device: Device) -> None:
    device.reporter.deaf = True
    device.wants(APP1)
    assert device.poll().result is Result.IDLE
    assert device.last_word.outcome is Outcome.OK
    assert device.journal.pending() > 0


def test_an_unchanged_device_reports_only_when_a_heartbeat_is_due(device: Device) -> None:
    manifest = device.wants(APP1)
    device.poll()
    device.trust.answers = [a_trusted(replace(manifest, next=None, keep=(manifest.next.set,)))]  # type: ignore[union-attr]  # a_manifest has one
    device.clock.pass_(400)
    device.poll()
    beats = len(device.reporter.beats)
    device.clock.pass_(3000)
    device.poll()
    assert len(device.reporter.beats) == beats
    device.clock.pass_(700)
    device.poll()
    assert len(device.reporter.beats) == beats + 1


def test_while_its_fleet_rolls_out_a_device_speaks_every_five_minutes(device: Device) -> None:
    device.wants(APP1)
    device.poll()
    beats = len(device.reporter.beats)
    device.clock.pass_(301)
    device.poll()
    assert len(device.reporter.beats) == beats + 1


def test_what_was_committed_in_another_slot_is_not_what_runs(device: Device) -> None:
    device.wants(APP1)
    device.poll()
    installed = device.journal.installed()
    assert installed
    with device.journal._transaction():
        device.journal._store_running(installed.running, "b")
    assert device.agent._heartbeat().set is None


def test_the_outlook_tells_whether_a_child_is_needed(device: Device) -> None:
    assert not outlook(device.journal, reports=False).busy
    assert outlook(device.journal, reports=True).busy
    device.wants(APP1)
    device.installer.errors = {"download": NETWORK}
    device.poll()
    seen = outlook(device.journal, reports=False)
    assert (seen.busy, seen.hint) == (True, 60.0)


def test_a_device_is_unassigned_until_a_fleet_has_it(device: Device) -> None:
    assert outlook(device.journal, reports=False).unassigned
    device.trust.answers = [a_trusted(None, None), a_trusted(None)]
    device.poll()
    assert outlook(device.journal, reports=False).unassigned
    device.poll()
    assert not outlook(device.journal, reports=False).unassigned


def test_an_event_that_waits_makes_a_report_due(device: Device) -> None:
    device.journal.remember_time("heartbeat", device.clock.now())
    assert not report_due(device.journal, device.clock.now(), 3600.0)
    device.trust.answers = [UpdateRejected(Code.HASH, "x", FailureClass.CHECKSUM)]
    device.reporter.deaf = True
    device.poll()
    assert report_due(device.journal, device.clock.now(), 3600.0)


def test_a_download_that_waits_for_the_network_makes_polls_rarer(device: Device) -> None:
    device.wants(APP1)
    device.installer.errors = {"download": NETWORK}
    assert device.poll() == Stepped(Result.WAITING, worked=True, trouble=f"download: {NETWORK}")


def in_a_trial_that_the_journal_does_not_know(root: Path, rootfs: Descriptor) -> Device:
    device = Device(root, rootfs)
    device.loader.activate("b", tries=2)
    boot(root)
    device.wants(rootfs)
    return device


def test_a_running_trial_without_a_deployment_is_left_and_then_built_anew(tmp_path: Path) -> None:
    device = in_a_trial_that_the_journal_does_not_know(tmp_path, a_descriptor("kiosk-os"))
    with pytest.raises(Rebooted):
        device.poll()
    boot(tmp_path)
    assert device.loader.facts().running == "a"
    assert device.journal.failed() == {}, "the set was never tried, as far as anybody knows"
    device.poll()
    assert "download kiosk-os" in device.installer.calls
