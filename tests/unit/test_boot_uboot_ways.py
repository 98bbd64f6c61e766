"""boot.cmd in a real U-Boot, the other ways: saveenv, an initrd, a device tree of the slot."""

import subprocess
from pathlib import Path

import pytest

from tests.support.boot_qemu import QemuBoard

pytestmark = pytest.mark.ci

SETTINGS = {"bootdelay": "-2", "boot_targets": "nvme0"}
SAVEENV = SETTINGS | {"fleetcd_store": "saveenv"}
TRIAL = {"fleetcd_primary": "a", "fleetcd_trial": "b", "fleetcd_left": "2"}


def test_a_saveenv_that_fails_starts_no_trial(tmp_path: Path) -> None:
    """QEMU's flash takes no write of this U-Boot: `Flash buffer write timeout`."""
    board = QemuBoard(tmp_path, SAVEENV | TRIAL)
    assert board.boot() == "a"


def test_a_slot_without_its_initrd_makes_way_for_the_other(tmp_path: Path) -> None:
    settings = SETTINGS | {"fleetcd_initrd": "/boot/initrd.img"}
    board = QemuBoard(tmp_path, settings, {"initrd.img": bytes(4096)})
    assert board.boot() == "a"
    board.lose("a", "initrd.img")
    assert board.boot() == "b"


def test_a_slot_without_its_device_tree_makes_way_for_the_other(tmp_path: Path) -> None:
    tree = tmp_path / "board.dtb"
    subprocess.run(
        ["qemu-system-aarch64", "-M", f"virt,dumpdtb={tree}", "-cpu", "cortex-a53", "-m", "512"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    settings = SETTINGS | {"fleetcd_fdt": "/boot/board.dtb", "fdt_addr_r": "0x48000000"}
    board = QemuBoard(tmp_path, settings, {"board.dtb": tree.read_bytes()})
    assert board.boot() == "a"
    board.lose("a", "board.dtb")
    assert board.boot() == "b"
