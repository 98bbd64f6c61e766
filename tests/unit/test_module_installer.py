"""An Update Module as an Installer: Mender's calls, and a tree with Mender's exact bytes."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.core.component import RebootNeed
from device_agent.errors import InstallFailed, UpdateRejected
from device_agent.modules.installer import UpdateModuleInstaller
from device_agent.modules.payload import Header
from device_agent.modules.settle import settle
from device_agent.modules.tree import Current, Tree
from schemas.refusal import Code
from schemas.wire.report import FailureClass
from tests.support.installing import component, source_of
from tests.support.modules_device import ModuleDevice

APP = component(b"content", name="app", installer="recorder")


@pytest.fixture
def device(tmp_path: Path) -> ModuleDevice:
    device = ModuleDevice(tmp_path)
    device.installer.download(APP, source_of(b"content"))
    (device.record / "calls").unlink()
    return device


def test_the_tree_has_the_exact_bytes_of_the_protocol(device: ModuleDevice) -> None:
    content = {
        str(path.relative_to(device.tree)): path.read_bytes()
        for path in device.tree.rglob("*")
        if path.is_file()
    }
    assert content == {
        "version": b"3\n",
        "current_artifact_name": b"kiosk-app@1.4.2\n",
        "current_artifact_group": b"",
        "current_device_type": b"rpi4\n",
        "header/artifact_name": b"kiosk-app@1.5.0",
        "header/artifact_group": b"",
        "header/payload_type": b"recorder",
        "header/header-info": b'{"artifact_depends":{},"artifact_provides":'
        b'{"artifact_name":"kiosk-app@1.5.0"},"payloads":[{"type":"recorder"}]}',
        "header/type-info": b'{"type":"recorder"}',
        "header/meta-data": b"null",
        "files/payload": b"content",
    }
    assert list((device.tree / "tmp").iterdir()) == []


def test_what_is_not_known_of_the_device_is_an_empty_file(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree")
    tree.create(Current(None, None, "rpi4"), Header("n", "g", "t", b"{}", b"{}", b"null"))
    assert (tree.path / "current_artifact_name").read_bytes() == b""
    assert (tree.path / "current_artifact_group").read_bytes() == b""
    assert (tree.path / "header" / "artifact_group").read_bytes() == b"g"


def test_every_method_is_its_call(device: ModuleDevice) -> None:
    device.script("NeedsArtifactReboot", "echo Yes")
    device.script("SupportsRollback", "echo Yes")
    device.installer.install(APP)
    assert device.installer.reboot_need(APP) is RebootNeed.MODULE
    device.installer.activate(APP)
    device.installer.verify(APP)
    device.installer.commit(APP)
    assert device.installer.supports_rollback(APP)
    device.installer.rollback(APP)
    device.installer.rollback_reboot(APP)
    device.installer.verify_rollback(APP)
    device.installer.failure(APP)
    device.installer.cleanup(APP)
    assert device.calls == [
        "ArtifactInstall",
        "NeedsArtifactReboot",
        "ArtifactReboot",
        "ArtifactVerifyReboot",
        "ArtifactCommit",
        "SupportsRollback",
        "ArtifactRollback",
        "ArtifactRollbackReboot",
        "ArtifactVerifyRollbackReboot",
        "ArtifactFailure",
        "Cleanup",
    ]


@pytest.mark.parametrize(
    ("call", "method", "failure"),
    [
        ("ArtifactInstall", "install", FailureClass.INSTALL),
        ("ArtifactVerifyReboot", "verify", FailureClass.REBOOT),
        ("ArtifactCommit", "commit", FailureClass.COMMIT),
        ("ArtifactRollback", "rollback", FailureClass.ROLLBACK),
        ("ArtifactRollbackReboot", "rollback_reboot", FailureClass.ROLLBACK),
        ("ArtifactVerifyRollbackReboot", "verify_rollback", FailureClass.ROLLBACK),
        ("ArtifactFailure", "failure", FailureClass.SCRIPT),
        ("NeedsArtifactReboot", "reboot_need", FailureClass.SCRIPT),
        ("SupportsRollback", "supports_rollback", FailureClass.SCRIPT),
        ("Cleanup", "cleanup", FailureClass.SCRIPT),
    ],
)
def test_a_call_that_fails_is_a_failed_install_of_its_class(
    device: ModuleDevice, call: str, method: str, failure: FailureClass
) -> None:
    device.script(call, "echo reason >&2; exit 7")
    with pytest.raises(InstallFailed, match=f"{call} exited with status 7: reason") as caught:
        getattr(device.installer, method)(APP)
    assert caught.value.failure is failure


def test_when_the_agent_reboots_the_module_is_not_called_to(device: ModuleDevice) -> None:
    device.script("NeedsArtifactReboot", "echo Automatic")
    assert device.installer.reboot_need(APP) is RebootNeed.AGENT
    device.installer.activate(APP)
    assert device.calls == ["NeedsArtifactReboot"]


def test_the_answer_after_a_rollback_may_differ_from_the_first(device: ModuleDevice) -> None:
    device.script("NeedsArtifactReboot", "echo Automatic")
    assert device.installer.reboot_need(APP) is RebootNeed.AGENT
    device.script("NeedsArtifactReboot", "echo No")
    assert device.installer.reboot_need(APP) is RebootNeed.NO


def test_an_answer_of_two_lines_is_a_failure(device: ModuleDevice) -> None:
    device.script("SupportsRollback", "echo No; sleep 0.1; echo another line")
    with pytest.raises(InstallFailed, match="SupportsRollback: more than one line"):
        device.installer.supports_rollback(APP)


def test_what_a_query_writes_to_stderr_is_no_answer(device: ModuleDevice) -> None:
    device.script("SupportsRollback", "head -c 1000000 /dev/zero | tr '\\0' '\\n' >&2; echo Yes")
    assert device.installer.supports_rollback(APP)


def test_a_hung_call_is_ended_and_its_class_is_timeout(tmp_path: Path) -> None:
    device = ModuleDevice(tmp_path, timeout=0.5)
    device.script("ArtifactCommit", "trap '' TERM; sleep 60; sleep 60")
    device.installer.download(APP, source_of(b"content"))
    with pytest.raises(InstallFailed, match="did not end in time") as caught:
        device.installer.commit(APP)
    assert caught.value.failure is FailureClass.TIMEOUT


def test_without_its_tree_every_call_fails_but_cleanup_which_has_nothing_to_do(
    tmp_path: Path,
) -> None:
    device = ModuleDevice(tmp_path)
    with pytest.raises(InstallFailed, match=r"tree .* is gone"):
        device.installer.install(APP)
    device.installer.cleanup(APP)
    assert device.calls == []


def test_cleanup_removes_the_tree_even_when_the_module_fails(device: ModuleDevice) -> None:
    device.script("Cleanup", "exit 1")
    with pytest.raises(InstallFailed):
        device.installer.cleanup(APP)
    assert not device.tree.exists()
    device.installer.cleanup(APP)


def test_cleanup_leaves_no_directory_of_the_component_behind(device: ModuleDevice) -> None:
    device.installer.cleanup(APP)
    payloads = device.tree.parents[1]
    assert list(payloads.iterdir()) == []
    (payloads / "app").mkdir()  # as after a power cut just before the end
    device.installer.cleanup(APP)
    assert list(payloads.iterdir()) == []


def test_cleanup_removes_nothing_that_somebody_else_put_beside_the_tree(
    device: ModuleDevice,
) -> None:
    other = device.tree.with_name("other")
    other.touch()
    for _ in range(2):
        device.installer.cleanup(APP)
        assert [path.name for path in device.tree.parent.iterdir()] == ["other"]


def test_tmp_keeps_what_the_module_put_there_until_cleanup(device: ModuleDevice) -> None:
    device.script("ArtifactInstall", "echo old > tmp/backup")
    device.script("ArtifactRollback", 'cp tmp/backup "$RECORD/restored"')
    device.installer.install(APP)
    device.installer.rollback(APP)
    assert device.read("restored") == b"old\n"


def test_a_module_that_is_not_installed_refuses_the_download(device: ModuleDevice) -> None:
    installer = UpdateModuleInstaller("missing", device.settings, device.installed.get)
    with pytest.raises(UpdateRejected) as caught:
        installer.download(APP, source_of(b"content"))
    assert caught.value.code is Code.MODULE


def test_a_module_that_vanished_in_between_is_a_failed_install(device: ModuleDevice) -> None:
    installer = UpdateModuleInstaller("missing", device.settings, device.installed.get)
    with pytest.raises(InstallFailed, match="no module 'missing'"):
        installer.install(APP)


def test_a_module_gets_the_given_environment_only(
    device: ModuleDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEETCD_TOKEN", "secret")
    device.script("ArtifactInstall", 'env > "$RECORD/env"')
    device.installer.install(APP)
    assert b"secret" not in device.read("env")


def test_what_a_module_says_is_logged_escaped_and_bounded(
    device: ModuleDevice, caplog: pytest.LogCaptureFixture
) -> None:
    device.script("ArtifactInstall", r"printf 'red \033[31m\n'; head -c 100000 /dev/zero >&2")
    with caplog.at_level(logging.INFO, logger="device_agent"):
        device.installer.install(APP)
    [record] = caplog.records
    assert ": ArtifactInstall exited with status 0: \\x00" in record.getMessage()
    assert record.__dict__["call"] == "ArtifactInstall"
    assert record.__dict__["output"] == "red \\x1b[31m\\n"
    assert len(record.__dict__["errors"]) == 10_000


def test_what_was_installed_is_on_the_disk_before_it_is_committed(device: ModuleDevice) -> None:
    calls: list[list[str]] = []
    device.settings = replace(device.settings, settle=lambda _: calls.append(device.calls))
    device.installer.install(APP)
    device.installer.commit(APP)
    assert calls == [["ArtifactInstall"]]
    assert device.calls == ["ArtifactInstall", "ArtifactCommit"]


@pytest.mark.parametrize("sync", ["exit 1", "exec sleep 60"])
def test_a_disk_that_cannot_be_synced_is_logged_and_keeps_nothing_away(
    tmp_path: Path, sync: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = tmp_path / "sync"
    program.write_text(f"#!/bin/sh\n{sync}\n")
    program.chmod(0o755)
    monkeypatch.setattr("device_agent.modules.settle.TIMEOUT", 0.1)
    settle({"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert "the disks were not synced" in caplog.text
