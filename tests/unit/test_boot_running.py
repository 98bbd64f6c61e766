"""Which slot runs, by what the kernel says is mounted as the root."""

from pathlib import Path

import pytest

from device_agent.boot.running import MountedRoot, boot_id
from device_agent.errors import InstallFailed

PROC = "27 24 0:25 / /proc rw,nosuid shared:12 - proc proc rw\n"


def root(device: str, kind: str = "ext4", source: str = "/dev/root", options: str = "rw") -> str:
    return f"24 1 {device} / / rw,relatime shared:1 - {kind} {source} {options}\n"


def mount(device: str, point: str) -> str:
    return f"30 24 {device} / {point} ro,relatime - ext4 /dev/sda ro\n"


def overlay(lower: str) -> str:
    return root("0:30", "overlay", "overlayroot", f"rw,lowerdir={lower},upperdir=/rw/up,workdir=/w")


class Kernel:
    """What /proc and /sys tell, with slots that are files behind loop devices 7:0 and 7:1."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.slots = {slot: directory / f"slot {slot}" for slot in "ab"}
        for slot, device in (("a", "7:0"), ("b", "7:1")):
            self.slots[slot].write_bytes(b"")
            self.tell(f"{device}/loop/backing_file", f"{self.slots[slot]}\n")

    def tell(self, name: str, text: str) -> None:
        path = self._directory / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def running(self, *mountinfo: str) -> str:
        (self._directory / "mountinfo").write_text("".join(mountinfo))
        return MountedRoot(self.slots, self._directory / "mountinfo", self._directory / "sys")()


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.mark.parametrize(("device", "slot"), [("7:0", "a"), ("7:1", "b")])
def test_the_slot_behind_the_mounted_root_runs(kernel: Kernel, device: str, slot: str) -> None:
    assert kernel.running(PROC, root(device)) == slot


def test_links_to_a_slot_are_followed(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "by-partlabel").symlink_to(kernel.slots["b"])
    kernel.slots["b"] = tmp_path / "by-partlabel"
    assert kernel.running(root("7:1")) == "b"


def test_a_root_mounted_on_top_of_another_is_the_one_that_counts(kernel: Kernel) -> None:
    assert kernel.running(root("0:2", "rootfs", "rootfs"), root("7:1")) == "b"


def test_a_verified_device_is_what_lies_below_it(kernel: Kernel) -> None:
    kernel.tell("253:0/slaves/loop1/dev", "7:1\n")
    assert kernel.running(root("253:0", source="/dev/mapper/verity")) == "b"


def test_devices_that_name_each_other_are_not_followed_for_ever(kernel: Kernel) -> None:
    kernel.tell("253:0/slaves/dm-0/dev", "253:0\n")
    with pytest.raises(InstallFailed, match=r"boot\.slots"):
        kernel.running(root("253:0"))


@pytest.mark.parametrize("lower", ["/media/ro", "/conf:/media/ro", "/media/ro/usr"])
def test_an_overlay_runs_what_its_lowest_directory_is_on(kernel: Kernel, lower: str) -> None:
    assert kernel.running(overlay(lower), mount("7:1", "/media/ro"), mount("7:0", "/media")) == "b"


@pytest.mark.parametrize("lower", ["/media/ro", "/gone"])
def test_an_overlay_of_something_out_of_sight_is_not_guessed(kernel: Kernel, lower: str) -> None:
    with pytest.raises(InstallFailed, match="below an overlay the slot must stay mounted"):
        kernel.running(overlay(lower), mount("7:0", "/mnt"))


def test_a_root_that_is_no_slot_is_said_with_what_it_is(kernel: Kernel) -> None:
    with pytest.raises(InstallFailed, match=r"boot\.slots: a is .*/dev/root \(ext4, 8:1\)"):
        kernel.running(root("8:1"))


def test_two_names_for_the_root_are_refused(kernel: Kernel) -> None:
    kernel.slots["b"] = kernel.slots["a"]
    with pytest.raises(InstallFailed, match="both"):
        kernel.running(root("7:0"))


def test_slots_that_are_not_there_do_not_run(kernel: Kernel, tmp_path: Path) -> None:
    kernel.slots["a"] = tmp_path / "missing"
    assert kernel.running(root("7:1")) == "b"


@pytest.mark.parametrize("text", ["", "garbage\n", "1 2 3 - x\n"])
def test_a_mount_table_without_a_root_is_said(kernel: Kernel, text: str) -> None:
    with pytest.raises(InstallFailed, match="nothing that can be seen"):
        kernel.running(text)


def test_a_mount_table_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match="cannot see what runs"):
        MountedRoot({}, tmp_path / "missing")()


def test_the_boot_id_is_the_kernels_without_dashes(tmp_path: Path) -> None:
    assert len(boot_id()) == 32
    with pytest.raises(InstallFailed, match="missing"):
        boot_id(tmp_path / "missing")
