"""A person, the system or a lost terminal ends a command in the middle of a module's call."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.standalone_device import StandaloneDevice

# First more than a pipe holds: when that is gone, the agent is there and listens.
WAITING = (
    "head -c 200000 /dev/zero; sleep 300 & "
    'echo $! > "$RECORD/child.new"; mv "$RECORD/child.new" "$RECORD/child"; wait'
)
BOUND = 20.0  # seconds for anything here


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandaloneDevice:
    return StandaloneDevice(tmp_path, monkeypatch)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def interrupted(device: StandaloneDevice, number: signal.Signals) -> tuple[int, str]:
    """Send `number` to an install while the module's own child is at work."""
    arguments = ["install", str(device.artifact()), "--config", str(device.config)]
    command = [sys.executable, "-m", "device_agent", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as agent:
        child = device.record / "child"
        until(child.exists)
        os.kill(agent.pid, number)
        _, errors = agent.communicate(timeout=BOUND)
    until(lambda: not alive(int(child.read_text())))
    return agent.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_asked_to_end_takes_the_modules_children_along(
    device: StandaloneDevice, number: signal.Signals
) -> None:
    device.can_roll_back()
    device.does("ArtifactInstall", WAITING)
    code, errors = interrupted(device, number)
    assert code == 128 + number
    assert "interrupted; `fleetcd-agent show` tells what is begun" in errors
    assert "Traceback" not in errors
    assert device.run("resume") == 0
    assert device.calls[-3:] == ["ArtifactRollback", "ArtifactFailure", "Cleanup"]


def test_a_download_that_a_person_ends_leaves_nothing_in_progress(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.does("Download", WAITING)
    assert interrupted(device, signal.SIGINT)[0] == 130
    assert device.run("resume") == 2
    assert "No update in progress." in capsys.readouterr().out
    assert not device.tree.exists(), "its module was told to clean up"


def test_a_command_that_ignores_a_lost_terminal_goes_on(device: StandaloneDevice) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        device.does("ArtifactInstall", "kill -HUP $PPID")
        assert device.run("install", device.artifact()) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
