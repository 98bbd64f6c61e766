"""What commands say to people: of doubt, of rights, and where the configuration lies."""

import os
from pathlib import Path

import pytest

from device_agent.cli import main
from device_agent.errors import InstallFailed, TransientError
from device_agent.work import MAX_DOWNLOADS
from schemas.wire.report import FailureClass
from tests.unit.test_agent_cli_commands import Console


@pytest.fixture
def console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Console:
    return Console(tmp_path, monkeypatch, capsys)


def test_what_nobody_knows_is_named_when_it_ends_and_later(console: Console) -> None:
    broken = InstallFailed("it broke", FailureClass.ROLLBACK)
    console.health.error = broken
    console.installer.errors = {"rollback os": broken}
    code, said = console("install")
    assert code == 1
    assert "nobody knows about os" in said
    assert "nobody knows about os" in console("show")[1]


def test_a_rollback_by_hand_that_went_wrong_is_no_success(console: Console) -> None:
    console("install", "--stop-before", "reboot")
    console.installer.errors = {"rollback os": InstallFailed("stuck", FailureClass.ROLLBACK)}
    code, said = console("rollback")
    assert code == 1
    assert "nobody knows about os" in said
    assert "rolled back\n" not in said


def test_a_network_that_stayed_away_is_told_from_success(console: Console) -> None:
    console.installer.errors = {"download": TransientError("no route to host")}
    codes = [console("install")[0] for _ in range(MAX_DOWNLOADS)]
    assert codes == [69] * MAX_DOWNLOADS, "the last one ends the deployment, neutral"


def test_who_may_not_do_it_is_told_who_may(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", "/var/lib/fleetcd")

    monkeypatch.setattr("device_agent.durable.make_directory", denied)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, said = console("show")
    assert code == 69
    assert said.endswith("'/var/lib/fleetcd'; run it as root\n")


def test_help_says_where_the_configuration_lies(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["show", "--help"])
    assert "(/etc/fleetcd/agent.toml)" in capsys.readouterr().out
