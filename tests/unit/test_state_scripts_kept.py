"""An artifact's scripts are kept whole, where only they can lie, until they are cleared."""

import os
import stat
from pathlib import Path

import pytest

from device_agent import durable
from device_agent.core.scripts import Action, ScriptState
from device_agent.errors import UpdateRejected
from schemas.artifact.header import Script
from schemas.refusal import Code
from tests.support.state_scripts import ScriptDevice

NAME = "ArtifactInstall_Enter_01"


@pytest.fixture
def device(tmp_path: Path) -> ScriptDevice:
    return ScriptDevice(tmp_path)


def kept(device: ScriptDevice, component: str = "app") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (device.artifacts / component).iterdir()}


def test_kept_scripts_are_private_executable_and_of_version_3(device: ScriptDevice) -> None:
    device.scripts().keep("app", [Script(NAME, b"#!/bin/sh\n")])
    assert kept(device) == {NAME: b"#!/bin/sh\n", "version": b"3"}
    folder = device.artifacts / "app"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o700


def test_keeping_again_replaces_what_was_there(device: ScriptDevice) -> None:
    device.give_artifact("other", NAME)
    device.scripts().keep("app", [Script(NAME, b"old"), Script(f"{NAME}_gone", b"")])
    (device.artifacts / "app" / "left by a script").mkdir()
    (device.artifacts / ".app.new").mkdir()  # left by a power cut
    (device.artifacts / ".app.new" / "half").write_bytes(b"")
    device.scripts().keep("app", [Script(NAME, b"new")])
    assert kept(device) == {NAME: b"new", "version": b"3"}
    assert sorted(path.name for path in device.artifacts.iterdir()) == ["app", "other"]


def test_an_artifact_without_scripts_takes_away_the_old_ones(device: ScriptDevice) -> None:
    device.give_artifact("app", NAME)
    device.give_artifact("app")
    device.scripts().run(ScriptState.INSTALL, Action.ENTER, ["app"])
    assert device.calls == []


def test_scripts_are_on_the_disk_before_they_get_their_place(
    device: ScriptDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, fsync = list[tuple[str, bool]](), os.fsync
    place = device.artifacts / "app"

    def record(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        flushed.append((path.name, place.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    device.scripts().keep("app", [Script(NAME, b"x")])
    names = [name for name, _ in flushed]
    assert names[-5:] == [".version.new", ".app.new", f".{NAME}.new", ".app.new", "scripts"]
    assert [placed for _, placed in flushed] == [False] * (len(flushed) - 1) + [True]


def test_a_full_disk_leaves_the_old_scripts_whole(
    device: ScriptDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.scripts().keep("app", [Script(NAME, b"old")])
    before, write = kept(device), durable.write

    def full(path: Path, data: bytes, mode: int = 0o600) -> None:
        if path.name == f"{NAME}_b":
            raise OSError(28, "No space left on device")
        write(path, data, mode)

    monkeypatch.setattr(durable, "write", full)
    with pytest.raises(OSError, match="No space"):
        device.scripts().keep("app", [Script(NAME, b"new"), Script(f"{NAME}_b", b"")])
    assert kept(device) == before


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (f"../{NAME}", Code.PATH),
        (f"/etc/{NAME}", Code.PATH),
        (f"{NAME}_/../../x", Code.PATH),
        (f"{NAME}_\\x", Code.PATH),
        (f"{NAME}_\x00", Code.PATH),
        ("..", Code.PATH),
        ("", Code.PATH),
        ("version", Code.MODULE),
        ("Idle_Enter_00", Code.MODULE),
        ("ArtifactInstall_Enter_100", Code.MODULE),
        (f"{NAME}\n", Code.PATH),
    ],
)
def test_a_name_that_no_artifacts_script_has_is_refused_and_nothing_changes(
    device: ScriptDevice, name: str, code: Code
) -> None:
    device.give_artifact("app", NAME)
    before = kept(device)
    with pytest.raises(UpdateRejected) as caught:
        device.scripts().keep("app", [Script(f"{NAME}_new", b""), Script(name, b"")])
    assert caught.value.code is code
    assert kept(device) == before
    assert [path.name for path in device.artifacts.iterdir()] == ["app"]


@pytest.mark.parametrize("component", ["../app", "..", ".app.new", "", "a/b", "/app", "app\n"])
def test_a_component_that_is_no_plain_name_is_refused(device: ScriptDevice, component: str) -> None:
    with pytest.raises(UpdateRejected) as caught:
        device.scripts().keep(component, [Script(NAME, b"")])
    assert caught.value.code is Code.PATH
    assert not device.artifacts.exists()


def test_a_link_planted_where_scripts_are_prepared_is_not_followed(device: ScriptDevice) -> None:
    victim = device.record / "victim"
    victim.mkdir()
    device.artifacts.mkdir(parents=True)
    for name in (".app.new", "app"):
        (device.artifacts / name).symlink_to(victim)
    device.give_artifact("app", NAME)
    assert not (device.artifacts / "app").is_symlink()
    assert list(victim.iterdir()) == []


def test_clearing_removes_the_scripts_of_every_component(
    device: ScriptDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.give_artifact("app", NAME)
    device.give_artifact("app.0001", NAME)
    (device.artifacts / "stray").write_bytes(b"")
    synced = list[tuple[Path, int]]()

    def record(path: Path) -> None:
        synced.append((path, len(list(path.iterdir()))))

    monkeypatch.setattr(durable, "sync_directory", record)
    device.scripts().clear()
    assert synced == [(device.artifacts, 0)]


def test_clearing_twice_or_nothing_has_no_effect(device: ScriptDevice) -> None:
    device.scripts().clear()
    device.give_artifact("app", NAME)
    device.scripts().clear()
    device.scripts().clear()
    device.scripts().run(ScriptState.INSTALL, Action.ENTER, ["app"])
    assert device.calls == []
