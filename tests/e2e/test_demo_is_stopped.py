"""`fleetcd demo` that is stopped in the middle leaves neither processes nor files behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.demo.stack import wait_until


def processes_of(directory: Path) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes()
        except OSError:
            continue  # it has ended
        if os.fsencode(directory) in command:
            found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_demo_that_is_stopped_takes_everything_with_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    directory = tmp_path / "demo"
    command = [sys.executable, "-m", "reconciler", "demo", "--once", "--devices", "4"]
    demo = subprocess.Popen([*command, "--directory", str(directory)], stdout=subprocess.DEVNULL)
    try:
        devices = directory / "devices.log"
        wait_until(devices.exists, 60, "the devices are switched on")
    finally:
        demo.send_signal(number)
    assert demo.wait(60) == 130
    assert not directory.exists()
    assert processes_of(directory) == []


def test_a_directory_that_another_demo_uses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    command = [sys.executable, "-m", "reconciler", "demo", "--once", "--directory", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "another demo" in ended.stderr
    assert (tmp_path / "server").is_dir()
