"""What the kernel says about slots, read without trusting its lines to be simple."""

from pathlib import Path

from device_agent.install.slots import Kernel, Mount, parse_mounts

LINES = r"""
24 1 259:3 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p3 rw
30 24 0:27 / /proc rw - proc proc rw
36 24 7:0 / /mnt/with\040space rw master:1 shared:2 - ext4 /dev/loop0 rw
garbage
1 2 3 - x
"""


def kernel(root: Path, mountinfo: str) -> Kernel:
    (root / "mountinfo").write_text(mountinfo)
    return Kernel(mountinfo=root / "mountinfo", block_devices=root / "block")


def test_mounts_are_read_whatever_optional_fields_a_line_has() -> None:
    assert parse_mounts(LINES) == (
        Mount("259:3", "/", "/dev/nvme0n1p3"),
        Mount("0:27", "/proc", "proc"),
        Mount("7:0", "/mnt/with space", "/dev/loop0"),
    )


def test_a_file_that_nothing_uses_is_free(tmp_path: Path) -> None:
    slot = tmp_path / "slot"
    slot.write_bytes(b"x")
    assert kernel(tmp_path, LINES).mount_of(slot) is None
    assert Kernel().mount_of(slot) is None


def test_a_file_mounted_through_a_loop_device_is_in_use(tmp_path: Path) -> None:
    slot = tmp_path / "slot"
    slot.write_bytes(b"x")
    loop = tmp_path / "block" / "7:0" / "loop"
    loop.mkdir(parents=True)
    (loop / "backing_file").write_text(f"{slot}\n")
    mount = kernel(tmp_path, LINES).mount_of(slot)
    assert mount is not None
    assert mount.point == "/mnt/with space"


def test_a_link_to_a_mounted_source_is_in_use(tmp_path: Path) -> None:
    slot, link = tmp_path / "slot", tmp_path / "by-label"
    slot.write_bytes(b"x")
    link.symlink_to(slot)
    mounted = f"36 24 0:44 / /mnt rw - btrfs {slot} rw\n"
    assert kernel(tmp_path, mounted).mount_of(link) is not None
