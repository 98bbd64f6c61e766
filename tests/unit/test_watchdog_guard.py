"""The hardware watchdog: who pings it, when it is stopped, and what happens without it."""

import errno
import logging
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from device_agent.errors import InstallFailed
from device_agent.exit_codes import ExitCode
from device_agent.ports import BootFacts
from device_agent.watchdog import SHORTEST, Guard, KernelWatchdog, guarding, runs_on
from schemas.wire.report import FailureClass

DEVICE = Path("/dev/watchdog")
SETTLED = BootFacts(boot_id="0" * 32, running="a", primary="a", trial=None)
ACTIVATED = BootFacts(boot_id="0" * 32, running="a", primary="a", trial="b")
ON_TRIAL = BootFacts(boot_id="0" * 32, running="b", primary="a", trial="b")
CANCELLED = BootFacts(boot_id="0" * 32, running="b", primary="a", trial=None)


@dataclass
class FakeWatchdog:
    """Notes what is done to it. `takes`: the seconds it can do; `broken`: every write fails."""

    takes: int = 60
    broken: bool = False
    done: list[str] = field(default_factory=list)

    def set_timeout(self, seconds: int) -> int:
        return min(seconds, self.takes)

    def ping(self) -> None:
        self._note("ping")

    def stop(self) -> None:
        self._note("stop")

    def close(self) -> None:
        self.done.append("close")

    def _note(self, what: str) -> None:
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        self.done.append(what)


def unknown() -> BootFacts:
    raise InstallFailed("no copy is intact", FailureClass.REBOOT)


def test_without_a_watchdog_nothing_is_opened() -> None:
    def start(_path: Path) -> FakeWatchdog:
        raise AssertionError

    with guarding(None, 60, start) as guard:
        guard.ping()
        guard.forget()
        guard.stand_down(ExitCode.DONE, lambda: SETTLED)


def test_it_is_pinged_at_the_start_and_with_each_turn_of_the_loop() -> None:
    fake = FakeWatchdog()
    with guarding(DEVICE, 60, lambda _path: fake) as guard:
        guard.ping()
        assert fake.done == ["ping", "ping"]


@pytest.mark.parametrize(
    ("ended", "facts", "expected"),
    [
        pytest.param(ExitCode.DONE, SETTLED, False, id="stopped by somebody"),
        pytest.param(ExitCode.DONE, ACTIVATED, True, id="a trial waits for the reboot"),
        pytest.param(ExitCode.DONE, ON_TRIAL, True, id="a trial runs"),
        pytest.param(ExitCode.DONE, CANCELLED, True, id="a cancelled trial is on its way out"),
        pytest.param(ExitCode.DONE, None, True, id="a trial cannot be excluded"),
        pytest.param(ExitCode.REBOOT, SETTLED, True, id="the shutdown may hang"),
    ],
)
def test_it_runs_on_without_the_daemon(
    ended: ExitCode, facts: BootFacts | None, expected: bool
) -> None:
    assert runs_on(ended, facts) is expected


def test_on_a_settled_device_an_orderly_end_stops_it() -> None:
    fake = FakeWatchdog()
    with guarding(DEVICE, 60, lambda _path: fake) as guard:
        guard.stand_down(ExitCode.DONE, lambda: SETTLED)
    assert fake.done == ["ping", "stop", "close"]


def test_during_a_trial_an_orderly_end_does_not_stop_it() -> None:
    fake = FakeWatchdog()
    with guarding(DEVICE, 60, lambda _path: fake) as guard:
        guard.stand_down(ExitCode.DONE, lambda: ON_TRIAL)
    assert fake.done == ["ping", "close"]


def test_with_a_bootloader_that_cannot_be_asked_it_is_not_stopped() -> None:
    fake = FakeWatchdog()
    with guarding(DEVICE, 60, lambda _path: fake) as guard:
        guard.stand_down(ExitCode.DONE, unknown)
    assert fake.done == ["ping", "close"]


def test_a_daemon_that_crashes_does_not_stop_it() -> None:
    fake = FakeWatchdog()
    with pytest.raises(KeyError), guarding(DEVICE, 60, lambda _path: fake):
        raise KeyError
    assert fake.done == ["ping", "close"]


def test_a_forked_child_lets_go_of_it_without_stopping_it() -> None:
    fake = FakeWatchdog()
    with guarding(DEVICE, 60, lambda _path: fake) as guard:
        guard.forget()
        guard.ping()
        guard.stand_down(ExitCode.DONE, lambda: SETTLED)
    assert fake.done == ["ping", "close"]


def test_one_that_somebody_else_has_is_said_and_the_daemon_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def busy(path: Path) -> FakeWatchdog:
        raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    with guarding(DEVICE, 60, busy) as guard:
        guard.ping()
    assert "boot.watchdog: /dev/watchdog: " in caplog.text
    assert "Device or resource busy" in caplog.text


def test_one_that_would_not_wait_for_the_network_is_stopped_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake = FakeWatchdog(takes=SHORTEST - 1)
    with guarding(DEVICE, 60, lambda _path: fake) as guard:
        guard.ping()
    assert fake.done == ["stop", "close"]
    assert "restarts after 29 seconds, 30 are needed" in caplog.text


def test_a_ping_that_fails_is_said_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeWatchdog()
    guard = Guard(fake)
    fake.broken = True
    with caplog.at_level(logging.ERROR):
        guard.ping()
        guard.ping()
    fake.broken = False
    guard.ping()
    assert caplog.text.count("takes no ping") == 1
    assert fake.done == ["ping"]


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "watchdog"
    path.touch()
    return path


def test_the_kernel_is_asked_for_the_timeout_and_says_what_it_took(device: Path) -> None:
    asked = []

    def ioctl(_descriptor: int, request: int, argument: bytes) -> bytes:
        asked.append((request, argument))
        return struct.pack("i", 64)

    assert KernelWatchdog(device, ioctl).set_timeout(60) == 64
    assert asked == [(0xC0045706, struct.pack("i", 60))]


def test_only_the_magic_character_stops_it(device: Path) -> None:
    """Documentation/watchdog/watchdog-api.rst of the kernel: V, directly before the close."""
    watchdog = KernelWatchdog(device)
    watchdog.ping()
    assert b"V" not in device.read_bytes()
    watchdog.stop()
    watchdog.close()
    assert device.read_bytes().endswith(b"V")


def test_closing_again_closes_nothing_else(device: Path) -> None:
    watchdog = KernelWatchdog(device)
    watchdog.close()
    descriptor = os.open(device, os.O_RDONLY)
    watchdog.close()
    os.close(descriptor)


def test_programs_that_modules_start_do_not_inherit_it(device: Path) -> None:
    def ioctl(descriptor: int, _request: int, argument: bytes) -> bytes:
        assert not os.get_inheritable(descriptor)
        return argument

    assert KernelWatchdog(device, ioctl).set_timeout(60) == 60


def test_what_is_no_watchdog_is_said_and_left_alone(
    device: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with guarding(device, 60) as guard:
        guard.ping()
    assert "cannot be set to 60 seconds" in caplog.text
    assert device.read_bytes() == b"V"
