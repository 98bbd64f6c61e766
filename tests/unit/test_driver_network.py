"""A network that is away in a trial boot: who is to blame is seen from what ran before.

DESIGN section 7: unreachable from the trial slot and from the old one too is neutral.
"""

from pathlib import Path

import pytest

from device_agent import undo, work
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.component import RebootNeed
from device_agent.core.states import State
from device_agent.driver import Result
from device_agent.errors import TransientError, UpdateRejected
from device_agent.journal import JournalUnavailable
from schemas.refusal import Code
from schemas.wire.report import FailureClass, Outcome
from tests.support.agent_fakes import MODULE, ROOTFS, FakeHealth, FakeTrust, Rebooted, a_record
from tests.support.driver_device import NETWORK, Device, SlotInstaller, a_module_device

REFUSED = UpdateRejected(Code.ROLLBACK, "a portal answers", FailureClass.SIGNATURE)


def a_device_whose_new_image_has_no_network(root: Path) -> Device:
    """Return it back in its old slot, about to tell the modules."""
    device = Device(root, a_record(ROOTFS, MODULE), SlotInstaller(root))
    device.installer.errors = {"download app": NETWORK}
    with pytest.raises(Rebooted):
        device.run()
    boot(root)
    for _ in range(work.MAX_DOWNLOADS - 1):
        assert device.run() is Result.WAITING
        assert device.waiting == f"download: {NETWORK}"
    with pytest.raises(Rebooted):
        device.run()
    boot(root)
    return device


def test_a_trial_boot_does_not_wait_for_ever_and_the_update_is_to_blame(tmp_path: Path) -> None:
    device = a_device_whose_new_image_has_no_network(tmp_path)
    assert device.run() is Result.IDLE
    assert FileBootloader(tmp_path).facts().running == "a"
    word = device.last_word
    assert (word.outcome, word.failure) == (Outcome.FAILED, FailureClass.NETWORK)
    assert device.journal.failed() == {device.record.set: 1}, "or it would restart for ever"


@pytest.mark.parametrize("answer", [NETWORK, REFUSED])
def test_a_network_that_is_away_from_the_old_slot_too_is_neutral(
    tmp_path: Path, answer: Exception
) -> None:
    device = a_device_whose_new_image_has_no_network(tmp_path)
    device.trust = FakeTrust([answer])
    results = [device.run() for _ in range(undo.MAX_LOOKS)]
    assert results == [Result.WAITING] * (undo.MAX_LOOKS - 1) + [Result.IDLE]
    word = device.last_word
    assert (word.outcome, word.failure) == (Outcome.NEUTRAL, FailureClass.NETWORK)
    assert device.journal.failed() == {}, "network trouble must not doom a set"
    assert device.calls.count("failure os") == 1


def test_a_network_that_comes_late_after_the_restart_is_waited_for(tmp_path: Path) -> None:
    device = a_device_whose_new_image_has_no_network(tmp_path)
    there = device.trust.answers[0]
    device.trust = FakeTrust([NETWORK, there])
    assert device.run() is Result.WAITING
    assert "was it the update or the network?" in device.waiting
    assert device.run() is Result.IDLE
    assert device.last_word.outcome is Outcome.FAILED


@pytest.mark.parametrize(("later", "outcome"), [([], Outcome.FAILED), ([NETWORK], Outcome.NEUTRAL)])
def test_a_health_check_without_network_is_judged_after_the_way_back(
    tmp_path: Path, later: list[Exception], outcome: Outcome
) -> None:
    device = a_module_device(tmp_path)
    device.health = FakeHealth(TransientError("the published tree does not answer"))
    device.trust = FakeTrust([*device.trust.answers, *later])
    while device.run() is Result.WAITING:
        pass
    assert "rollback app" in device.calls
    assert device.last_word.outcome is outcome


def test_a_journal_that_cannot_be_read_in_a_states_work_decides_nothing(tmp_path: Path) -> None:
    device = a_module_device(tmp_path, errors={"verify": JournalUnavailable("the disk is away")})
    device.installer.need = RebootNeed.MODULE
    with pytest.raises(JournalUnavailable):
        device.run()
    record = device.journal.record()
    assert record
    assert (record.state, record.problem) == (State.VERIFY_REBOOT, None)
