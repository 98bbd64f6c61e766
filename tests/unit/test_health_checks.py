"""Health checks pass all at once, or fail with the check's name and its last words."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from device_agent.errors import InstallFailed, TransientError
from device_agent.health import HealthRunner, HealthSettings, health_environment
from schemas.wire.descriptor import Health
from schemas.wire.report import FailureClass

PATH = "/usr/bin:/bin"


class FakeTime:
    """A Clock that only sleeping moves."""

    def __init__(self) -> None:
        self.seconds, self.pauses = 1000.0, list[float]()

    def now(self) -> datetime:
        return datetime(2026, 11, 24, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds


class Device:
    def __init__(self, state: Path) -> None:
        self.time, self.online = FakeTime(), True
        self.environment = health_environment(PATH, state, state / "slot-b.img")

    def check(self, *checks: str, within: int = 60, timeout: float = 20.0) -> None:
        settings = HealthSettings(self.environment, pause=5.0, timeout=timeout)
        runner = HealthRunner(settings, lambda: self.online, self.time, self.time.sleep)
        runner.run(Health(within, checks))

    def failure(self, *checks: str, within: int = 60, timeout: float = 20.0) -> str:
        with pytest.raises(InstallFailed) as caught:
            self.check(*checks, within=within, timeout=timeout)
        assert caught.value.failure is FailureClass.HEALTHCHECK
        return caught.value.message


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


class Answering(http.server.BaseHTTPRequestHandler):
    """/STATUS answers STATUS; /drip sends a header byte by byte for as long as anybody reads."""

    def do_GET(self) -> None:
        if self.path == "/drip":
            self.drip()
            return
        self.send_response(int(self.path.strip("/")))
        self.send_header("Location", "/200")
        self.end_headers()

    def drip(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        try:
            while True:
                self.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Tests stay quiet."""


@contextmanager
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as service:
        service.daemon_threads = True
        thread = threading.Thread(target=service.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{service.server_address[1]}"
        finally:
            service.shutdown()
            thread.join(10)


def test_without_checks_a_device_is_healthy_at_once(device: Device) -> None:
    device.check()
    assert device.time.pauses == []


def test_all_checks_pass_at_once(device: Device) -> None:
    device.check("network", "command:true", "command:sh -c 'exit 0'")
    assert device.time.pauses == []


def test_a_check_that_passes_later_is_waited_for(device: Device, tmp_path: Path) -> None:
    device.check(f"command:sh -c 'echo x >> {tmp_path}/n; test $(wc -l < {tmp_path}/n) -ge 3'")
    assert device.time.pauses == [5.0, 5.0]


def test_checks_have_to_pass_at_the_same_time(device: Device, tmp_path: Path) -> None:
    """The first passes in every second round only, the second from the second round on."""
    (tmp_path / "odd").write_text(f"echo x >> {tmp_path}/n; exit $(($(wc -l < {tmp_path}/n) % 2))")
    (tmp_path / "late").write_text(f"echo x >> {tmp_path}/m; test $(wc -l < {tmp_path}/m) -ge 2")
    device.check(f"command:sh {tmp_path}/odd", f"command:sh {tmp_path}/late")
    assert (tmp_path / "n").read_text().count("x") == 4


def test_a_check_that_never_passes_fails_when_the_time_is_over(device: Device) -> None:
    message = device.failure("network", "command:sh -c 'echo one; echo kaput >&2; exit 3'")
    assert message == (
        "health check command:sh -c 'echo one; echo kaput >&2; exit 3' fails:"
        " exited with status 3: kaput (for 60 s)"
    )
    assert sum(device.time.pauses) < 60


def test_a_device_that_cannot_reach_the_tree_fails_the_network_check(device: Device) -> None:
    device.online = False
    with pytest.raises(TransientError, match="network fails: the published tree does not answer"):
        device.check("network")


def test_what_else_is_wrong_is_not_put_down_to_the_network(device: Device) -> None:
    device.online = False
    assert "command:false fails" in device.failure("command:false", "network")


def test_a_command_is_told_the_running_slot_and_the_state_directory(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETCD_TOKEN", "secret")
    device.check(f"command:sh -c 'env > {tmp_path}/env'")
    seen = (tmp_path / "env").read_text().splitlines()
    assert f"FLEETCD_SLOT={tmp_path}/slot-b.img" in seen
    assert f"FLEETCD_STATE={tmp_path}" in seen
    assert not any("secret" in line for line in seen)


def test_a_device_without_slots_has_no_slot_to_tell(tmp_path: Path) -> None:
    assert "FLEETCD_SLOT" not in health_environment(PATH, tmp_path, None)


def test_a_command_is_not_given_to_a_shell(device: Device, tmp_path: Path) -> None:
    device.check(f"command:echo $(touch {tmp_path}/shell) ; touch {tmp_path}/shell")
    assert not (tmp_path / "shell").exists()


def test_a_command_that_hangs_is_killed_and_said_to_hang(device: Device) -> None:
    message = device.failure("command:sleep 60", within=5, timeout=0.2)
    assert "did not end in time" in message


def test_a_command_that_does_not_exist_fails(device: Device) -> None:
    assert "cannot start: No such file" in device.failure("command:/no/such", within=5)


def test_last_words_are_escaped_and_bounded(device: Device) -> None:
    message = device.failure(r"command:sh -c 'printf \\033[31m; head -c 5000 /dev/zero; exit 1'")
    assert message.isprintable()
    assert len(message) < 700


@pytest.mark.parametrize("status", [200, 204])
def test_a_url_that_answers_2xx_passes(device: Device, status: int) -> None:
    with server() as url:
        device.check(f"{url}/{status}")


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_url_that_answers_otherwise_or_redirects_fails(device: Device, status: int) -> None:
    with server() as url:
        assert f"status {status}" in device.failure(f"{url}/{status}")


def test_a_url_that_nobody_serves_fails(device: Device) -> None:
    with server() as url:
        pass
    assert "refused" in device.failure(f"{url}/200", within=5)


def test_a_server_that_drips_its_answer_is_cut_off(device: Device) -> None:
    before = time.monotonic()
    with server() as url:
        assert "no whole answer" in device.failure(f"{url}/drip", within=5, timeout=0.3)
    assert time.monotonic() - before < 10


def stand_in(tmp_path: Path, device: Device, script: str) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    device.environment["PATH"] = f"{tmp_path}:{PATH}"


def test_a_unit_is_asked_of_systemd(device: Device, tmp_path: Path) -> None:
    stand_in(tmp_path, device, f'echo "$*" > {tmp_path}/asked; echo active')
    device.check("systemd:getty@tty1.service")
    assert (tmp_path / "asked").read_text() == "is-active -- getty@tty1.service\n"


def test_a_unit_that_is_not_active_fails_with_its_state(device: Device, tmp_path: Path) -> None:
    stand_in(tmp_path, device, "echo inactive; exit 3")
    assert "systemd:kiosk.service fails: exited with status 3: inactive" in device.failure(
        "systemd:kiosk.service"
    )


@pytest.mark.parametrize(
    "check",
    [
        "",
        "unknown",
        "network:x",
        "ftp://host/",
        "command:",
        "command:sh -c 'open",
        "systemd:",
        "systemd:--help",
        "systemd:a b",
        "http://",
        "http://user@host/",
        "http://host:99999/",
    ],
)
def test_a_check_that_this_agent_does_not_know_fails_without_waiting(
    device: Device, check: str
) -> None:
    assert device.failure("command:true", check).startswith("health check")
    assert device.time.pauses == []
