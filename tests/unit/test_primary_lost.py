"""A primary that does not start any more: the device finds out, says so, goes on, is updated."""

from pathlib import Path

import pytest

from device_agent.boot.environment import COPIES, Environment, save
from device_agent.boot.file import FileBootloader
from device_agent.cli_fleet import _ended
from device_agent.cli_status import lines
from device_agent.core.lost_primary import MOST_REQUESTS
from device_agent.core.states import Gate
from device_agent.driver import Result
from device_agent.errors import InstallFailed
from device_agent.exit_codes import ExitCode
from device_agent.machine import ExitToReboot
from device_agent.step import Stepped
from schemas.resolve import Running
from schemas.wire.report import FailureClass, Outcome
from tests.support.agent_fakes import FakeInstaller, Rebooted
from tests.support.losing_device import (
    OS1,
    OS2,
    SET1,
    IntoTheOtherSlot,
    LosingDevice,
    NeverRestarts,
    ReadOnly,
)
from tests.support.polling_device import APP1, NETWORK


@pytest.fixture
def device(tmp_path: Path) -> LosingDevice:
    device = LosingDevice(tmp_path)
    device.installer = IntoTheOtherSlot(device)
    return device


def test_a_device_whose_primary_does_not_load_is_updated_again_after_one_restart(
    device: LosingDevice,
) -> None:
    device.loses("a")
    manifest = device.wants(OS2)
    device.poll_through_restarts()
    assert device.slots() == ("a", "a", None)
    assert device.restarts == 2, "one to find out, one into the new slot"
    assert device.ended() is Outcome.OK
    assert manifest.next and device.reporter.beats[-1].set == manifest.next.set


def test_the_loss_is_reported_once_and_what_runs_is_said_to_be_unknown(
    device: LosingDevice,
) -> None:
    device.loses("a")
    for _ in range(3):
        device.poll_through_restarts()
    (event,) = device.told
    assert (event.code, event.failure) == ("E_STATE", FailureClass.REBOOT)
    assert "slot a, the primary, does not start: slot b" in (event.message or "")
    assert device.agent._heartbeat().set is None
    assert device.agent._heartbeat().waiting is None


def test_what_was_committed_in_the_slot_that_runs_is_said_to_run(device: LosingDevice) -> None:
    """The agent that committed it died before it could tell; the primary is the older slot."""
    device.committed_in("a")
    with device.journal._transaction():
        device.journal._store_running(Running(SET1.id, SET1), "b")
    device.loses("a")
    device.poll_through_restarts()
    assert device.agent._heartbeat().set == SET1.id


def test_a_restart_remembered_from_another_time_proves_nothing_about_a_lost_trial(
    device: LosingDevice,
) -> None:
    """As when another agent put a slot on trial that ours found and left once before."""
    device.journal.remember(restart="an-earlier-boot b 1")
    device.loader.activate("b", tries=2)
    device.power_cycle()
    device.poll_through_restarts()
    assert (device.restarts, device.slots(), device.told) == (1, ("a", "a", None), [])


def test_a_rollback_that_was_not_restarted_leads_to_the_primary_and_nothing_is_adopted(
    device: LosingDevice,
) -> None:
    device.off_the_primary()
    device.poll_through_restarts()
    assert (device.restarts, device.slots(), device.told) == (1, ("a", "a", None), [])
    assert device.agent._heartbeat().set == SET1.id


def test_another_loss_in_another_year_is_another_restart_and_another_report(
    device: LosingDevice,
) -> None:
    device.off_the_primary()
    device.poll_through_restarts()
    device.loses("a")
    device.poll_through_restarts()
    assert (device.restarts, len(device.told)) == (2, 1)
    device.broken.clear()
    device.loses("b")
    device.poll_through_restarts()
    assert (device.restarts, len(device.told), device.slots()) == (3, 2, ("a", "a", None))


def test_a_lost_trial_whose_primary_does_not_load_takes_one_restart_too(
    device: LosingDevice,
) -> None:
    device.loader.activate("b", tries=2)
    device.loses("a")
    assert device.slots() == ("b", "a", "b")
    device.poll_through_restarts()
    assert (device.restarts, device.slots()) == (1, ("b", "b", None))


def test_with_variables_that_cannot_be_written_the_device_restarts_once_and_says_why(
    device: LosingDevice,
) -> None:
    device.loses("a")
    device.loader = ReadOnly(FileBootloader(device.root))
    device.wants(OS2)
    for _ in range(4):
        assert device.poll_through_restarts() == Stepped(Result.WAITING, worked=False)
        device.clock.pass_(4000)
    assert device.restarts == 1
    assert device.installer.calls == []
    assert device.journal.failed() == {}, "the set is not to blame"
    trouble = "slot b runs, not the primary a: the flash is read-only"
    assert (device.status.trouble, device.reporter.beats[-1].waiting) == (trouble, trouble)
    assert device.status.stale_since is None, "the tree is not to blame either"


def test_a_person_who_looks_at_the_device_is_told_what_is_in_the_way(
    device: LosingDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.loses("a")
    device.loader = ReadOnly(FileBootloader(device.root))
    device.poll_through_restarts()
    trouble = "slot b runs, not the primary a: the flash is read-only"
    assert f"trouble: {trouble}" in lines(device.status)
    assert _ended(device.journal, new=False) is ExitCode.WAITING
    assert capsys.readouterr().out == f"not begun: {trouble}\n"


def test_when_the_variables_can_be_written_again_the_device_goes_on_by_itself(
    device: LosingDevice,
) -> None:
    device.loses("a")
    device.loader = ReadOnly(FileBootloader(device.root))
    device.wants(OS2)
    device.poll_through_restarts()
    device.loader = FileBootloader(device.root)
    device.poll_through_restarts()
    assert (device.slots(), device.ended()) == (("a", "a", None), Outcome.OK)
    assert device.status.trouble is None


def test_a_lost_trial_that_cannot_be_cancelled_keeps_nobody_from_hearing_of_it(
    device: LosingDevice,
) -> None:
    device.loader.activate("b", tries=2)
    device.power_cycle()
    device.loader = ReadOnly(FileBootloader(device.root))
    device.wants(OS2)
    assert device.poll() == Stepped(Result.WAITING, worked=False)
    assert "the flash is read-only" in (device.reporter.beats[-1].waiting or "")


def test_a_module_is_updated_even_while_the_slots_are_not_settled(device: LosingDevice) -> None:
    device.loses("a")
    device.loader = ReadOnly(FileBootloader(device.root))
    device.installer = FakeInstaller()
    device.wants(APP1)
    device.poll_through_restarts()
    assert device.ended() is Outcome.OK
    assert "install kiosk-app" in device.installer.calls


def test_a_machine_that_restarts_by_ending_the_agent_is_treated_alike(
    device: LosingDevice,
) -> None:
    device.machine = ExitToReboot()
    device.loses("a")
    with pytest.raises(SystemExit) as left:
        device.poll()
    assert left.value.code == ExitCode.REBOOT
    device.power_cycle()
    device.poll()
    assert device.slots() == ("b", "b", None)


def test_a_supervisor_that_only_starts_the_agent_again_does_not_make_it_go_round_for_ever(
    device: LosingDevice,
) -> None:
    device.machine = ExitToReboot()
    device.loses("a")
    for _ in range(MOST_REQUESTS):
        with pytest.raises(SystemExit):
            device.poll()
    for _ in range(3):
        assert device.poll().result is Result.WAITING
    assert "asked to restart" in (device.status.trouble or "")
    device.power_cycle()
    device.poll()
    assert device.slots() == ("b", "b", None)


def test_a_reboot_command_that_fails_is_said_and_tried_again(device: LosingDevice) -> None:
    machine = NeverRestarts()
    device.machine = machine
    device.loses("a")
    device.poll()
    assert "it is masked" in (device.status.trouble or "")
    for _ in range(MOST_REQUESTS + 1):
        device.poll()
    assert machine.asked == MOST_REQUESTS + 2
    device.power_cycle()
    device.poll()
    assert device.slots() == ("b", "b", None), "that restart counts, whoever made it"


def test_the_owner_is_not_asked_since_a_failed_trial_might_be_the_one_that_objects(
    device: LosingDevice,
) -> None:
    device.off_the_primary()
    device.owner.objections = {Gate.REBOOT: "the new application hangs, and a customer waits"}
    device.poll_through_restarts()
    assert (device.restarts, device.slots()) == (1, ("a", "a", None))


def test_an_update_by_hand_that_is_in_progress_decides_about_its_trial(
    device: LosingDevice,
) -> None:
    device.loader.activate("b", tries=2)
    device.power_cycle()
    device.journal.keep_standalone(b"{}")
    device.poll()
    assert device.slots() == ("b", "a", "b")


def test_with_both_copies_of_the_variables_lost_the_older_slot_starts_and_is_updated(
    device: LosingDevice,
) -> None:
    device.committed_in("b")
    for copy in COPIES:
        (device.root / copy).write_bytes(b"\xff" * 512)
    assert device.power_cycle() == "a", "the first slot that has a kernel"
    assert device.agent._heartbeat().set is None, "set 1 is in the other slot"
    device.wants(OS1)
    device.poll_through_restarts()
    assert (device.restarts, device.slots()) == (1, ("b", "b", None))
    assert device.reporter.beats[-1].set == SET1.id
    assert device.told == []


@pytest.mark.parametrize("primary", ["a", "b"])
def test_a_download_into_the_slot_that_has_to_run_is_given_up_and_begun_anew(
    device: LosingDevice, primary: str
) -> None:
    """Slot b is the primary when the boot script had to write all variables anew."""
    device.wants(OS2)
    device.installer.errors = {"download": NETWORK}
    assert device.poll().result is Result.WAITING
    save(device.root, Environment(primary, None, 0, "a", "0" * 32, 1))
    device.loses("a")
    device.installer.errors = {}
    assert device.poll() == Stepped(Result.IDLE, worked=True)
    assert device.ended() is Outcome.NEUTRAL
    assert device.installer.calls.count("download kiosk-os") == 1, "nothing is written there"
    assert device.journal.failed() == {}, "the set is not to blame"
    device.poll_through_restarts()
    assert (device.slots(), device.ended()) == (("a", "a", None), Outcome.OK)


def test_an_image_that_waits_in_the_slot_that_has_to_run_is_not_taken_for_installed(
    device: LosingDevice,
) -> None:
    device.wants(OS2)
    device.owner.objections = {Gate.INSTALL: "not now"}
    assert device.poll().result is Result.WAITING
    device.loses("a")
    device.owner.objections = {}
    assert device.poll() == Stepped(Result.IDLE, worked=True)
    assert (device.ended(), device.agent._heartbeat().set) == (Outcome.NEUTRAL, None)
    device.poll_through_restarts()
    assert (device.slots(), device.ended()) == (("a", "a", None), Outcome.OK)


def test_a_rollback_to_a_primary_that_does_not_load_ends_reported_and_the_device_goes_on(
    device: LosingDevice,
) -> None:
    """The driver tries to get back until it gives up. Then the rule takes over."""
    device.broken |= {"b"}
    installer = IntoTheOtherSlot(device)
    device.installer = installer
    manifest = device.wants(OS2)
    with pytest.raises(Rebooted):
        device.poll()
    assert device.power_cycle() == "b"
    installer.errors = {"verify": InstallFailed("not what was installed", FailureClass.REBOOT)}
    device.broken |= {"a"}
    for _ in range(20):
        try:
            device.poll()
            break
        except Rebooted:
            device.restarts += 1
            device.power_cycle()
    assert device.ended() is Outcome.FAILED
    assert device.last_word.inconsistent == ("kiosk-os",)
    assert device.restarts == 10
    assert manifest.next and manifest.next.set in device.journal.failed()
    device.installer = IntoTheOtherSlot(device)
    device.wants(OS1)
    before = device.restarts
    device.poll_through_restarts()
    assert device.slots() == ("a", "a", None)
    assert device.restarts == before + 2, "one to find out, one into the new slot"
    assert device.ended() is Outcome.OK
