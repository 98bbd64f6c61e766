"""What a person has to put right ends a poll with a reason, not the daemon and not with a crash."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent import app
from device_agent.exit_codes import ExitCode
from device_agent.outlook import Outlook
from device_agent.settings import Artifacts, Settings, parse
from tests.support.fault_server import FaultServer, Reply


def a_configuration(root: Path, more: str = "", tree: str = "https://tree.example") -> Settings:
    (root / "root.json").write_text("{}")
    text = f"""
        [device]
        name = "kiosk-0001"
        state = "state"
        [server]
        tree = "{tree}"
        http_hosts = ["127.0.0.1"]
        {more}
        [trust]
        root = "root.json"
    """
    return parse(text.encode(), root / "agent.toml")


def a_key_that_others_may_read(root: Path) -> Settings:
    settings = a_configuration(root)
    settings.device.state.mkdir()
    (settings.device.state / "device.key").write_text("a secret")
    (settings.device.state / "device.key").chmod(0o644)
    return settings


def a_gateway_without_tls(root: Path) -> Settings:
    return a_configuration(root, more='gateway = "http://gateway.example"')


def a_bootloader_that_knows_nothing(root: Path) -> Settings:
    (root / "boot").mkdir()
    boot = '[boot]\nbootloader = "file"\ndirectory = "boot"\nslots = {a = "a", b = "b"}'
    return a_configuration(root, more=boot)


def a_state_directory_that_takes_nothing(root: Path) -> Settings:
    settings = a_configuration(root)
    (settings.device.state / "agent.lock").mkdir(parents=True)  # as root may write anywhere
    return settings


def facts_that_no_report_could_carry(root: Path) -> Settings:
    (root / "facts").write_text("model = " + "x" * 9000)
    settings = a_configuration(root)
    return replace(settings, device=replace(settings.device, facts_file=root / "facts"))


def a_key_for_artifacts_that_is_not_there(root: Path) -> Settings:
    return replace(a_configuration(root), artifacts=Artifacts(verify_keys=(root / "absent.pem",)))


@pytest.mark.parametrize(
    ("trouble", "named"),
    [
        (a_key_that_others_may_read, "chmod 600"),
        (a_gateway_without_tls, "not encrypted"),
        (a_bootloader_that_knows_nothing, "no intact boot variables"),
        (facts_that_no_report_could_carry, "more than 8192 bytes"),
        (a_key_for_artifacts_that_is_not_there, "artifacts.verify_keys"),
        (a_state_directory_that_takes_nothing, "agent.lock"),
    ],
)
def test_a_poll_that_cannot_begin_says_why(
    trouble: Callable[[Path], Settings],
    named: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = trouble(tmp_path)
    settings.device.state.mkdir(exist_ok=True)
    assert app.step(settings) is ExitCode.UNAVAILABLE
    assert named in caplog.text
    assert "Traceback" not in caplog.text


def test_a_journal_that_fails_while_it_is_read_does_not_end_the_daemon(tmp_path: Path) -> None:
    settings = a_configuration(tmp_path)
    app.journal(settings).close()
    with sqlite3.connect(settings.journal) as database:
        database.execute("DROP TABLE outbox")
    database.close()
    assert app._outlook(settings) == Outlook(busy=True)


def test_a_tree_behind_a_captive_portal_is_not_reachable(tmp_path: Path) -> None:
    """A redirect is no answer of the tree's, and no reason to give up at once."""
    portal = Reply(302, headers={"Location": "https://portal.example/login"})
    with FaultServer(lambda _: portal) as server:
        settings = a_configuration(tmp_path, tree=server.url)
        assert not app._reachable(settings)
