"""rootfs-ab: the image goes into the slot that does not run, whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.component import Component, RebootNeed
from device_agent.errors import InstallFailed, TransientError, UpdateRejected
from device_agent.install.rootfs_ab import RootfsAB
from device_agent.install.slots import Kernel
from schemas.refusal import Code
from schemas.wire.descriptor import Encoding
from schemas.wire.report import FailureClass
from tests.support.installing import BytesSource, component, source_of

SLOT_SIZE = 300_000
OLD = b"old image" * 1000
NEW = b"new image" * 20_000


class Device:
    """Two slot files of which `a` runs, a file bootloader, and the installer over them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.a, self.b = root / "a.img", root / "b.img"
        for slot in (self.a, self.b):
            slot.write_bytes(OLD)
            os.truncate(slot, SLOT_SIZE)
        boot(root)
        self.bootloader = FileBootloader(root)

    @property
    def installer(self) -> RootfsAB:
        """A new one each time, as after a restart of the agent."""
        return RootfsAB({"a": self.a, "b": self.b}, self.bootloader, self.root)

    def untouched(self) -> bool:
        """Say whether `a` is the old image and starts next, and no trial is set."""
        facts = self.bootloader.facts()
        return self.a.read_bytes().startswith(OLD) and (facts.primary, facts.trial) == ("a", None)

    def until_trial(self, new: Component) -> None:
        self.installer.download(new, source_of(NEW))
        self.installer.install(new)
        self.installer.activate(new)
        assert boot(self.root).slot == "b"


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.mark.parametrize("encoding", Encoding)
def test_an_image_goes_into_the_other_slot_and_is_kept_after_commit(
    device: Device, encoding: Encoding
) -> None:
    new = component(NEW, encoding=encoding)
    device.installer.download(new, source_of(NEW, encoding))
    assert device.untouched()
    device.installer.install(new)
    assert device.installer.reboot_need(new) is RebootNeed.AGENT
    device.installer.activate(new)
    assert boot(device.root).slot == "b"
    device.installer.verify(new)
    device.installer.commit(new)
    device.installer.cleanup(new)
    assert device.bootloader.facts().primary == "b"
    assert device.b.read_bytes()[: len(NEW)] == NEW


def test_the_next_image_goes_into_the_slot_that_was_left(device: Device) -> None:
    new = component(NEW)
    device.until_trial(new)
    device.installer.commit(new)
    device.installer.download(component(OLD), source_of(OLD))
    assert device.a.read_bytes().startswith(OLD)
    assert device.b.read_bytes().startswith(NEW)


def test_an_image_larger_than_the_slot_is_refused_before_a_byte_is_written(device: Device) -> None:
    huge = component(bytes(SLOT_SIZE + 1))
    with pytest.raises(UpdateRejected, match=str(SLOT_SIZE)) as caught:
        device.installer.download(huge, source_of(bytes(SLOT_SIZE + 1)))
    assert (caught.value.code, caught.value.failure) == (Code.SPACE, FailureClass.SPACE)
    assert device.b.read_bytes().startswith(OLD)
    assert device.untouched()


def test_a_bomb_stops_at_the_signed_length_plus_one_piece(device: Device) -> None:
    bomb = component(bytes(50_000_000), encoding=Encoding.GZIP, uncompressed_size=1000)
    with pytest.raises(UpdateRejected) as caught:
        device.installer.download(bomb, source_of(bytes(50_000_000), Encoding.GZIP))
    assert caught.value.code is Code.LENGTH
    assert device.b.stat().st_size == SLOT_SIZE
    assert device.untouched()


def test_an_image_shorter_than_signed_is_refused(device: Device) -> None:
    short = component(NEW, uncompressed_size=len(NEW) + 1)
    with pytest.raises(UpdateRejected) as caught:
        device.installer.download(short, source_of(NEW))
    assert caught.value.code is Code.LENGTH


def test_a_download_that_broke_off_leaves_nothing_to_install(device: Device) -> None:
    new = component(NEW)
    with pytest.raises(TransientError):
        device.installer.download(new, BytesSource(NEW, breaks_at=50_000))
    with pytest.raises(InstallFailed, match="no slot holds a complete download"):
        device.installer.install(new)
    assert device.untouched()


def test_a_download_with_the_wrong_bytes_leaves_nothing_to_install(device: Device) -> None:
    new = component(NEW)
    with pytest.raises(UpdateRejected) as caught:
        device.installer.download(new, BytesSource(NEW[:-1] + b"!"))
    assert caught.value.code is Code.HASH
    with pytest.raises(InstallFailed, match="no slot holds"):
        device.installer.activate(new)
    assert device.untouched()


def test_a_complete_download_is_not_fetched_again(device: Device) -> None:
    new = component(NEW, encoding=Encoding.GZIP)
    device.installer.download(new, source_of(NEW, Encoding.GZIP))
    device.installer.download(new, BytesSource(b"", breaks_at=0))
    device.installer.install(new)


def test_a_complete_download_that_was_damaged_is_fetched_again(device: Device) -> None:
    new = component(NEW)
    device.installer.download(new, source_of(NEW))
    with device.b.open("r+b") as slot:
        slot.write(b"damage")
    with pytest.raises(TransientError):
        device.installer.download(new, BytesSource(NEW, breaks_at=1))
    with pytest.raises(InstallFailed, match="no slot holds"):
        device.installer.install(new)


def test_what_another_deployment_left_is_not_installed(device: Device) -> None:
    device.installer.download(component(NEW), source_of(NEW))
    with pytest.raises(InstallFailed, match="no slot holds"):
        device.installer.install(component(NEW + b"2"))


def test_one_bit_that_changed_in_the_slot_is_found_before_activation(device: Device) -> None:
    new = component(NEW)
    device.installer.download(new, source_of(NEW))
    with device.b.open("r+b") as slot:
        slot.seek(len(NEW) - 1)
        slot.write(bytes([NEW[-1] ^ 1]))
    with pytest.raises(InstallFailed, match="slot b does not hold") as caught:
        device.installer.install(new)
    assert caught.value.failure is FailureClass.CHECKSUM


def test_a_slot_that_shrank_is_found_before_activation(device: Device) -> None:
    new = component(NEW)
    device.installer.download(new, source_of(NEW))
    os.truncate(device.b, 10)
    with pytest.raises(InstallFailed, match="slot b does not hold"):
        device.installer.install(new)


def test_a_trial_that_waits_for_its_boot_is_dropped_before_its_slot_is_overwritten(
    device: Device,
) -> None:
    device.bootloader.activate("b", tries=2)
    with pytest.raises(TransientError):
        device.installer.download(component(NEW), BytesSource(NEW, breaks_at=0))
    assert boot(device.root).slot == "a"


def test_the_fallback_is_not_overwritten_while_a_trial_runs(device: Device) -> None:
    device.until_trial(component(NEW))
    with pytest.raises(InstallFailed, match="slot b is not committed") as caught:
        device.installer.download(component(OLD), source_of(OLD))
    assert caught.value.failure is FailureClass.PREINSTALL
    assert device.a.read_bytes().startswith(OLD)
    assert device.bootloader.facts().trial == "b"


def test_a_slot_that_is_not_configured_is_never_guessed(device: Device) -> None:
    installer = RootfsAB({"b": device.b, "c": device.a}, device.bootloader, device.root)
    with pytest.raises(InstallFailed, match="runs slot 'a', configured are b, c"):
        installer.download(component(NEW), source_of(NEW))


def test_two_names_for_one_slot_are_refused(device: Device) -> None:
    link = device.root / "link.img"
    link.symlink_to(device.a)
    installer = RootfsAB({"a": device.a, "b": link}, device.bootloader, device.root)
    with pytest.raises(InstallFailed, match="same as the running one"):
        installer.download(component(NEW), source_of(NEW))
    assert device.untouched()


def test_a_mounted_slot_is_refused(device: Device) -> None:
    mountinfo = device.root / "mountinfo"
    mountinfo.write_text(f"36 1 7:0 / /mnt/other\\040side rw - ext4 {device.b} rw\n")
    kernel = Kernel(mountinfo=mountinfo, block_devices=device.root)
    slots = {"a": device.a, "b": device.b}
    installer = RootfsAB(slots, device.bootloader, device.root, kernel)
    with pytest.raises(InstallFailed, match="mounted on /mnt/other side; unmount it"):
        installer.download(component(NEW), source_of(NEW))
    assert device.b.read_bytes().startswith(OLD)


def test_a_missing_slot_says_which(device: Device) -> None:
    device.b.unlink()
    with pytest.raises(InstallFailed, match="slot b: No such file"):
        device.installer.download(component(NEW), source_of(NEW))


def test_a_disk_that_is_full_when_bytes_reach_it_is_a_failure_for_lack_of_space(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InstallFailed, match="No space left") as caught:
        device.installer.download(component(NEW), source_of(NEW))
    assert caught.value.failure is FailureClass.SPACE
    assert device.untouched()


def test_a_slot_that_did_not_start_fails_verification(device: Device) -> None:
    new = component(NEW)
    device.until_trial(new)
    while boot(device.root).slot != "a":
        pass
    with pytest.raises(InstallFailed, match="slot a runs, not slot b") as caught:
        device.installer.verify(new)
    assert caught.value.failure is FailureClass.REBOOT
    with pytest.raises(InstallFailed):
        device.installer.commit(new)
    assert device.untouched()


def test_one_power_cut_during_a_healthy_trial_does_not_cost_the_update(device: Device) -> None:
    new = component(NEW)
    device.until_trial(new)
    assert boot(device.root).slot == "b"
    device.installer.verify(new)


def test_a_rollback_before_the_reboot_keeps_the_old_slot(device: Device) -> None:
    new = component(NEW)
    device.installer.download(new, source_of(NEW))
    device.installer.install(new)
    device.installer.activate(new)
    device.installer.rollback(new)
    assert boot(device.root).slot == "a"
    device.installer.verify_rollback(new)


def test_a_rollback_in_the_trial_returns_to_the_old_slot_and_proves_it(device: Device) -> None:
    new = component(NEW)
    device.until_trial(new)
    device.installer.rollback(new)
    with pytest.raises(InstallFailed, match="slot b runs after the rollback") as caught:
        device.installer.verify_rollback(new)
    assert caught.value.failure is FailureClass.ROLLBACK
    device.installer.rollback_reboot(new)
    assert boot(device.root).slot == "a"
    device.installer.verify_rollback(new)


def test_a_committed_image_is_never_called_rolled_back(device: Device) -> None:
    new = component(NEW)
    device.until_trial(new)
    device.installer.commit(new)
    device.installer.rollback(new)
    with pytest.raises(InstallFailed, match="committed"):
        device.installer.verify_rollback(new)
    assert boot(device.root).slot == "b"


def test_a_damaged_marker_is_no_marker_to_trust(device: Device) -> None:
    new = component(NEW)
    device.installer.download(new, source_of(NEW))
    (device.root / "rootfs-ab.json").write_text('{"slot":"b"}')
    with pytest.raises(InstallFailed, match=r"rootfs-ab\.json"):
        device.installer.install(new)
    device.installer.cleanup(new)
