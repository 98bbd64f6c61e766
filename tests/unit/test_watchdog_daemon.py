"""The daemon with a watchdog in its configuration."""

import subprocess
import sys
from pathlib import Path

WITHIN = 20.0  # seconds


def test_a_watchdog_that_cannot_be_used_stops_no_daemon(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        """
        [device]
        name = "kiosk-0001"
        state = "state"
        [server]
        tree = "https://127.0.0.1:1"
        [trust]
        root = "root.json"
        [boot]
        watchdog = "no-watchdog"
        [owner]
        status = "none"
        [poll]
        initial_delay = 0
        """
    )
    with subprocess.Popen(
        [sys.executable, "-m", "device_agent", "daemon", "--config", str(config)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stderr
        said: list[str] = []
        for line in daemon.stderr:  # it ends when the daemon does, at the latest
            said.append(line)
            if "cannot be asked" in line:
                break
        daemon.terminate()
        assert daemon.wait(WITHIN) == 0
    assert any("no-watchdog" in line and "nothing restarts a device" in line for line in said)
