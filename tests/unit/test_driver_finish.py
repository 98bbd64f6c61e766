"""What the driver repeats after the commit point, where a power cut may have left it half done."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from device_agent import driver
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.states import State
from device_agent.driver import Result
from device_agent.errors import InstallFailed
from device_agent.ports import BootFacts
from schemas.wire.report import FailureClass, Outcome
from tests.support.agent_fakes import ROOTFS, a_record
from tests.support.driver_device import Device, SlotInstaller


@dataclass
class TwoCopies:
    """A bootloader with two copies of its variables, of which the second has missed the commit."""

    inner: FileBootloader
    worn: bool = False
    behind: bool = True

    def facts(self) -> BootFacts:
        return self.inner.facts()

    def activate(self, slot: str, *, tries: int) -> None:  # noqa: ARG002 - the port's shape
        raise AssertionError("nothing new begins")

    def commit(self) -> None:
        if self.worn:
            raise InstallFailed("the second copy cannot be written", FailureClass.REBOOT)
        self.inner.commit()
        self.behind = False

    def cancel(self) -> None:
        raise AssertionError("after the commit point there is no way back")

    adopt = cancel


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """One whose power went within the commit: slot b is the primary, and the journal at COMMIT."""
    loader = FileBootloader(tmp_path)
    device = Device(tmp_path, a_record(ROOTFS), SlotInstaller(tmp_path))
    loader.activate("b", tries=2)
    boot(tmp_path)
    loader.commit()
    record = device.journal.record()
    assert record
    device.journal.enter(replace(record, state=State.COMMIT, boot_id=loader.facts().boot_id))
    return device


def test_a_commit_that_a_power_cut_left_half_done_reaches_the_other_copy(device: Device) -> None:
    copies = TwoCopies(FileBootloader(device.root))
    assert driver.run(device.journal, replace(device.ports, bootloader=copies)) is Result.IDLE
    assert not copies.behind
    assert device.last_word.outcome is Outcome.OK


def test_a_copy_that_cannot_be_written_costs_no_commit(device: Device) -> None:
    copies = TwoCopies(FileBootloader(device.root), worn=True)
    assert driver.run(device.journal, replace(device.ports, bootloader=copies)) is Result.IDLE
    assert device.last_word.outcome is Outcome.OK
