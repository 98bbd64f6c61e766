"""Plays the machine for agents that use the file bootloader: containers, the demo, tests.

`python -m device_agent.supervisor CONFIG...` starts one agent daemon for each configuration;
`--agent MODULE` runs another module than `device_agent`. A daemon that ends with REBOOT_STATUS has
"rebooted": the firmware picks the slot, counts the try, and the daemon is started again. One that
ends otherwise has crashed and is restarted on the same boot, as an init system would. Standard
library only.
"""

import argparse
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from device_agent.boot.firmware import boot

REBOOT_STATUS = 75
CRASH_PAUSE = 1.0  # seconds before an agent that crashed is started again
POLL = 0.05  # seconds between two looks at the daemons
STOP_WITHIN = 10.0  # seconds that a daemon gets to end


@dataclass(slots=True)
class Device:
    """One agent: its configuration, the file bootloader's directory, and the daemon if it runs."""

    config: Path
    firmware: Path
    agent: str  # the module that is run
    daemon: subprocess.Popen[bytes] | None = None
    off: bool = True  # the machine has to boot first
    start_at: float = 0.0  # time.monotonic() before which it is not started

    def start(self) -> None:
        command = [sys.executable, "-m", self.agent, "daemon", "--config", str(self.config)]
        log = self.config.with_name("agent.log").open("ab")
        with log:
            self.daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def tend(self) -> None:
        """Start the daemon if it is due; answer its end with a boot or a pause."""
        if self.daemon is None:
            if time.monotonic() >= self.start_at:
                self._begin()
            return
        status = self.daemon.poll()
        if status is None:
            return
        self.daemon, self.off = None, status == REBOOT_STATUS
        if not self.off:
            self.start_at = time.monotonic() + CRASH_PAUSE

    def _begin(self) -> None:
        """Boot if need be, and start. A disk that does not take the count of tries stops this
        device only: nothing is started on it until the boot can be saved."""
        try:
            if self.off:
                boot(self.firmware)
                self.off = False
            self.start()
        except OSError as error:
            sys.stderr.write(f"{self.config}: cannot start: {error}\n")
            self.start_at = time.monotonic() + CRASH_PAUSE


def device(config: Path, agent: str) -> Device:
    """Return the device of `config`. Raises ValueError when it has no file bootloader."""
    settings = tomllib.loads(config.read_text(encoding="utf-8")).get("boot", {})
    if settings.get("bootloader") != "file":
        raise ValueError(f'{config}: [boot] bootloader must be "file" under the supervisor')
    return Device(config, config.resolve().parent / settings["directory"], agent)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m device_agent.supervisor")
    parser.add_argument("--agent", default="device_agent", metavar="MODULE")
    parser.add_argument("configs", type=Path, nargs="+", metavar="CONFIG")
    options = parser.parse_args(arguments)
    devices = [device(config, options.agent) for config in options.configs]
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        while not stopping:
            for one in devices:
                one.tend()
            time.sleep(POLL)
    finally:
        _end([one.daemon for one in devices if one.daemon])
    return 0


def _end(daemons: list[subprocess.Popen[bytes]]) -> None:
    for daemon in daemons:
        daemon.terminate()
    deadline = time.monotonic() + STOP_WITHIN
    for daemon in daemons:
        try:
            daemon.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
