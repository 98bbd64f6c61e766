"""Scripts run only when the version beside them is one that we know how to run."""

import os
from pathlib import Path

import pytest

from device_agent.core.scripts import Action, ScriptState
from device_agent.errors import InstallFailed
from schemas.wire.report import FailureClass
from tests.support.state_scripts import ScriptDevice

DOWNLOAD, INSTALL = ScriptState.DOWNLOAD, ScriptState.INSTALL
ENTER, ERROR = Action.ENTER, Action.ERROR


@pytest.fixture
def device(tmp_path: Path) -> ScriptDevice:
    made = ScriptDevice(tmp_path)
    made.give_image("Download_Enter_01", "Download_Error_01")
    return made


def test_a_missing_version_is_fine(device: ScriptDevice) -> None:
    device.scripts().run(DOWNLOAD, ENTER, [])
    device.scripts().check_image()
    assert device.calls == ["Download_Enter_01"]


@pytest.mark.parametrize("text", ["2", "3", "3\n", " \n 2 \n", "3 of ours"])
def test_the_first_word_is_the_version_as_in_mender(device: ScriptDevice, text: str) -> None:
    device.say_version(text)
    device.scripts().run(DOWNLOAD, ENTER, [])
    device.scripts().check_image()
    assert device.calls == ["Download_Enter_01"]


@pytest.mark.parametrize("text", ["foobar", "1", "4", "33", "3.0", "", "\n", "v3", " " * 64 + "3"])
def test_another_version_fails_every_phase_of_the_directory(
    device: ScriptDevice, text: str
) -> None:
    device.say_version(text)
    for action in (ENTER, ERROR, Action.LEAVE):
        with pytest.raises(InstallFailed, match=r"version says .* version 2 or 3") as caught:
            device.scripts().run(DOWNLOAD, action, [])
        assert caught.value.failure is FailureClass.SCRIPT
    assert device.calls == []


def test_the_image_is_looked_at_before_a_commit(device: ScriptDevice) -> None:
    device.say_version("corrupt")
    with pytest.raises(InstallFailed, match="image/version says 'corrupt'"):
        device.scripts().check_image()


def test_the_images_version_does_not_stop_an_artifacts_scripts(device: ScriptDevice) -> None:
    device.say_version("corrupt")
    device.give_artifact("app", "ArtifactInstall_Enter_01")
    device.scripts().run(INSTALL, ENTER, ["app"])
    assert device.calls == ["ArtifactInstall_Enter_01"]


def test_an_artifacts_corrupt_version_stops_the_phase_before_any_script(
    device: ScriptDevice,
) -> None:
    device.give_artifact("a", "ArtifactInstall_Enter_01")
    device.give_artifact("b", "ArtifactInstall_Enter_01")
    (device.artifacts / "b" / "version").write_text("corrupt")
    with pytest.raises(InstallFailed, match="b/version says 'corrupt'"):
        device.scripts().run(INSTALL, ENTER, ["a", "b"])
    assert device.calls == []


def test_error_scripts_of_other_components_run_beside_a_corrupt_version(
    device: ScriptDevice,
) -> None:
    device.give_artifact("a", "ArtifactInstall_Error_01")
    device.give_artifact("b", "ArtifactInstall_Error_02", body="exit 1")
    (device.artifacts / "a" / "version").write_text("corrupt")
    with pytest.raises(InstallFailed, match=r"a/version says 'corrupt'.*Error_02 exited"):
        device.scripts().run(INSTALL, ERROR, ["a", "b"])
    assert device.calls == ["ArtifactInstall_Error_02"]


def test_a_pipe_in_place_of_the_version_holds_nothing_up(device: ScriptDevice) -> None:
    os.mkfifo(device.image / "version")
    with pytest.raises(InstallFailed, match="version says ''"):
        device.scripts().check_image()
    writer = os.open(device.image / "version", os.O_RDWR)  # it says nothing
    try:
        with pytest.raises(InstallFailed, match="version cannot be read: Resource temporarily"):
            device.scripts().check_image()
    finally:
        os.close(writer)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_version_that_cannot_be_read_is_a_failure(device: ScriptDevice) -> None:
    (device.image / "version").mkdir()
    held = descriptors()
    with pytest.raises(InstallFailed, match="version cannot be read: Is a directory"):
        device.scripts().check_image()
    assert descriptors() == held, "it was left open"
