"""`fleetcd-agent` for people on the device: what it prints, and how it exits."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent import app
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.cli import main
from device_agent.errors import InstallFailed, TransientError
from device_agent.journal import Journal
from device_agent.machine import ExitToReboot
from device_agent.ports import Machine
from device_agent.settings import Settings
from device_agent.step import Agent
from schemas.wire.report import FailureClass
from tests.support.agent_fakes import (
    ROOTFS,
    FakeHealth,
    FakeMachine,
    FakeTrust,
    Rebooted,
    a_manifest,
    a_set,
    a_trusted,
    fake_ports,
)
from tests.support.driver_device import SlotInstaller


class Console:
    """Commands over fake ports; configuration, lock, journal and bootloader are real."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture[str]):
        self.root, self._output = root, output
        (root / "boot").mkdir()
        boot(root / "boot")
        self.loader = FileBootloader(root / "boot")
        self.installer, self.health = SlotInstaller(root / "boot"), FakeHealth()
        self.trust = FakeTrust(
            [a_trusted(a_manifest(a_set(ROOTFS)))], {ROOTFS.ref.release: ROOTFS.descriptor}
        )
        (root / "root.json").write_text("{}")
        (root / "agent.toml").write_text(
            '[device]\nname = "kiosk-0001"\nstate = "state"\n'
            '[server]\ntree = "https://127.0.0.1:1"\n[trust]\nroot = "root.json"\n'
            '[boot]\nbootloader = "file"\ndirectory = "boot"\nslots = {a = "a", b = "b"}\n'
        )
        self.machine: Machine = FakeMachine()
        patch.setattr(app, "agent", self._agent)

    def _agent(self, _settings: Settings, opened: Journal) -> Agent:
        ports = fake_ports(
            self.loader,
            trust=self.trust,
            installer=self.installer,
            health=self.health,
            machine=self.machine,
        )
        return Agent(opened, ports, None, heartbeat=3600.0, version="agent/1")

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Run a command through the restarts it asks for; return its exit code and its words."""
        for _ in range(5):
            try:
                code = main([*arguments, "--config", str(self.root / "agent.toml")])
                return code, "".join(self._output.readouterr())
            except Rebooted:
                boot(self.root / "boot")
        raise AssertionError("restarted again and again")


@pytest.fixture
def console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Console]:
    yield Console(tmp_path, monkeypatch, capsys)


def test_check_says_what_the_tree_wants_and_installs_nothing(console: Console) -> None:
    code, said = console("check")
    assert code == 0
    assert "converge: admitted by stage all" in said
    assert "os=kiosk-os@2" in said
    assert console.installer.calls == []


def test_check_says_why_the_tree_cannot_be_used(console: Console) -> None:
    console.trust.answers = [TransientError("E_NETWORK: no route to host")]
    code, said = console("check")
    assert code == 69
    assert "no route to host" in said


def test_install_converges_now(console: Console) -> None:
    code, said = console("install")
    assert code == 0
    assert "ok" in said
    assert console.loader.facts().primary == "b"
    code, said = console("install")
    assert (code, said.strip()) == (0, "nothing to do")


def test_install_that_fails_is_undone_and_says_why(console: Console) -> None:
    console.health.error = InstallFailed("no answer on port 80", FailureClass.HEALTHCHECK)
    code, said = console("install")
    assert code == 1
    assert "no answer on port 80" in said
    assert console.loader.facts().primary == "a"


def test_install_says_that_the_machine_has_to_restart(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    console.machine = ExitToReboot()
    with pytest.raises(SystemExit) as leaving:
        console("install")
    assert leaving.value.code == 75
    assert "the machine has to restart now" in capsys.readouterr().out


def test_install_stops_before_the_commit_and_commit_goes_on(console: Console) -> None:
    code, said = console("install", "--stop-before", "commit")
    assert code == 3
    assert "waits before commit: a person decides" in said
    facts = console.loader.facts()
    assert (facts.running, facts.primary) == ("b", "a")
    assert console("commit")[0] == 0
    assert console.loader.facts().primary == "b"


def test_install_stops_before_the_commit_and_rollback_goes_back(console: Console) -> None:
    console("install", "--stop-before", "commit")
    code = console("rollback")[0]
    if code == 2:  # the restart in between ended the command; the daemon finishes the way back
        code = console("install")[0]
    assert console.loader.facts().running == "a"
    code, said = console("install")
    assert (code, said.strip()) == (0, "nothing to do"), "it would come back at the next poll"


@pytest.mark.parametrize("command", ["commit", "rollback"])
def test_without_a_deployment_there_is_nothing_to_decide(console: Console, command: str) -> None:
    code, said = console(command)
    assert code == 2
    assert said.startswith("No update in progress.\n")


@pytest.mark.parametrize("command", ["commit", "rollback"])
def test_a_deployment_that_asks_nobody_is_not_decided(console: Console, command: str) -> None:
    console.trust.answers = [a_trusted(a_manifest(a_set(ROOTFS))), TransientError("no route")]
    assert console("install")[0] != 0
    code, said = console(command)
    assert code == 2
    assert "waits for no decision" in said


def test_an_update_by_hand_is_refused_while_a_deployment_is_at_work(
    console: Console, caplog: pytest.LogCaptureFixture
) -> None:
    console("install", "--stop-before", "commit")
    code, said = console("install", str(console.root / "any.mender"))
    assert code == 1
    assert said.startswith("System not modified.\n")
    assert "a deployment of the fleet is at work" in caplog.text
    assert console("commit")[0] == 0, "the fleet's"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--stop-before", "Cleanup"], "without an artifact"),
        (["--stop-before", "commit", "--stop-before", "reboot"], "without an artifact"),
        (["--reboot-exit-code"], "without an artifact"),
        (["new.mender", "--stop-before", "reboot"], "is for a fleet's deployment"),
    ],
)
def test_install_keeps_the_flags_of_its_two_kinds_apart(
    console: Console, arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        console("install", *arguments)
    assert leaving.value.code == 2
    assert why in capsys.readouterr().err


def test_show_tells_a_new_device_plainly(console: Console) -> None:
    code, said = console("show")
    assert code == 0
    assert "nothing that fleetcd installed" in said


def test_show_tells_what_runs_and_how_the_last_one_ended_as_json(console: Console) -> None:
    console("install")
    code, said = console("show", "-o", "json")
    shown = json.loads(said)
    assert code == 0
    assert shown["running"]["set"] == a_set(ROOTFS).id
    assert shown["slot"] == {"running": "b", "primary": "b", "trial": None}
    assert shown["lastOutcome"]["outcome"] == "ok"
    assert shown["deployment"] is None


def test_show_tells_what_is_at_work(console: Console) -> None:
    console("install", "--stop-before", "reboot")
    _, said = console("show")
    assert "at work: os=kiosk-os@2: reboot (a person decides)" in said


def test_a_configuration_that_is_wrong_is_exit_2_with_a_suggestion(console: Console) -> None:
    config = console.root / "agent.toml"
    config.write_text(config.read_text().replace("tree =", "treee ="))
    code, said = console("show")
    assert code == 2
    assert "server.treee: unknown key; did you mean tree?" in said


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(None, "No such file", id="absent"),
        pytest.param("", "no certificate in PEM", id="empty"),
    ],
)
def test_a_wrong_authority_is_exit_2_and_names_the_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, why: str
) -> None:
    config, authority = tmp_path / "agent.toml", tmp_path / "ca.pem"
    if content is not None:
        authority.write_text(content)
    config.write_text(
        '[device]\nname = "kiosk-0001"\nstate = "state"\n'
        '[server]\ntree = "https://127.0.0.1:1"\nca = "ca.pem"\n[trust]\nroot = "root.json"\n'
    )
    assert main(["check", "--config", str(config)]) == 2
    assert f"server.ca: {authority}: {why}" in capsys.readouterr().err


def test_a_damaged_journal_is_reported_and_does_not_stop_the_agent(console: Console) -> None:
    (console.root / "state").mkdir()
    (console.root / "state" / "journal.db").write_bytes(secrets.token_bytes(8192))
    assert console("install")[0] == 0
    journal = Journal(console.root / "state" / "journal.db", id="0" * 32)
    refused = [event for event in journal.batch(room=1 << 20).events if event.code == "E_STATE"]
    assert len(refused) == 1


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert "another fleetcd-agent works on this device" in said
    assert "2   no update is in progress" in said
