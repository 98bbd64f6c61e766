"""The supervisor starts nothing whose try it could not count, and boots only when asked to."""

from pathlib import Path

import pytest

from device_agent.boot.environment import load
from device_agent.boot.file import FileBootloader
from device_agent.supervisor import REBOOT_STATUS, Device


def a_device(root: Path, *, status: int = 0) -> Device:
    """Return a device whose "agent" ends at once with `status`."""
    config, firmware = root / "agent.toml", root / "boot"
    (root / "ending.py").write_text(f"raise SystemExit({status})")
    config.touch()
    return Device(config, firmware, "ending")


def tended(device: Device) -> Device:
    """Look after the device once, as if every pause were over."""
    device.start_at = 0.0
    device.tend()
    return device


def ended(device: Device) -> Device:
    """Let the daemon end, and its end be noticed."""
    assert device.daemon
    device.daemon.wait(20)
    device.tend()
    return device


def test_a_boot_that_cannot_be_saved_starts_nothing_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    device = tended(a_device(tmp_path))
    assert device.daemon is None
    assert "cannot start" in capsys.readouterr().err
    device.firmware.mkdir()
    ended(tended(device))
    assert (variables := load(device.firmware))
    assert variables.boots == 1


@pytest.mark.parametrize(("status", "boots"), [(REBOOT_STATUS, 2), (1, 1)])
def test_only_a_wish_to_restart_is_answered_with_a_boot(
    status: int, boots: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    device = a_device(tmp_path, status=status)
    device.firmware.mkdir()
    ended(tended(device))
    ended(tended(device))
    assert (variables := load(device.firmware))
    assert variables.boots == boots


def test_a_trial_that_cannot_be_counted_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    device = a_device(tmp_path, status=REBOOT_STATUS)
    device.firmware.mkdir()
    ended(tended(device))
    FileBootloader(device.firmware).activate("b", tries=1)
    blocked = [device.firmware / f".env.{number}.json.new" for number in (0, 1)]
    for path in blocked:
        path.mkdir()  # as on a full disk, no copy of the variables can be written
    assert tended(device).daemon is None
    for path in blocked:
        path.rmdir()
    ended(tended(device))
    assert FileBootloader(device.firmware).facts().running == "b"
