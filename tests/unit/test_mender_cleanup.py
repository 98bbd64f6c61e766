"""Cleanup of an artifact with several payloads: each has its turn, and every failure is named."""

from pathlib import Path

import pytest

from device_agent.errors import InstallFailed, UpdateRejected
from schemas.wire.report import FailureClass
from tests.support.artifacts import Build
from tests.support.mender_device import MenderDevice, app

DATA = Build(payloads=({"a": b"1"}, {"b": b"2"}), kinds=("first", "second")).bytes()


def broken_off(root: Path, *, first: str, second: str) -> MenderDevice:
    """Return a device after a download that broke off; `first` and `second` do so in Cleanup."""
    device = MenderDevice(root)
    device.module("first", {"Cleanup": first})
    device.module("second", {"Cleanup": second})
    with pytest.raises(UpdateRejected):
        device.contents(DATA + b"more")
    return device


def test_all_cleanups_that_failed_are_named_in_one_failure(tmp_path: Path) -> None:
    device = broken_off(tmp_path, first="exit 3", second="exit 4")
    with pytest.raises(InstallFailed) as caught:
        device.installer.cleanup(app(DATA))
    assert caught.value.message == (
        "module first: Cleanup exited with status 3; module second: Cleanup exited with status 4"
    )
    assert caught.value.failure is FailureClass.SCRIPT


def test_one_cleanup_that_failed_is_named_alone(tmp_path: Path) -> None:
    device = broken_off(tmp_path, first="true", second="exit 4")
    with pytest.raises(InstallFailed, match=r"^module second: Cleanup exited with status 4$"):
        device.installer.cleanup(app(DATA))


def test_a_tree_that_cannot_be_removed_keeps_no_other_from_its_cleanup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = broken_off(tmp_path, first="true", second="exit 4")
    (device.tree() / "header" / "payload_type").unlink()

    def stuck(path: Path) -> None:
        if path == device.tree():
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("device_agent.modules.tree.detach_below", stuck)
    with pytest.raises(InstallFailed, match="Input/output error; module second: Cleanup exited"):
        device.installer.cleanup(app(DATA))


def test_cleanup_leaves_no_directory_of_any_payload_behind(tmp_path: Path) -> None:
    device = broken_off(tmp_path, first="true", second="true")
    (device.tree() / "header" / "payload_type").unlink()
    device.installer.cleanup(app(DATA))
    assert list(device.tree().parents[1].iterdir()) == []
