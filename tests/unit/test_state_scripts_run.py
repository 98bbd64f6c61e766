"""The scripts of a phase run as users of Mender's state scripts expect."""

import logging
import os
from pathlib import Path

import pytest

from device_agent.core.scripts import Action, OnFailure, ScriptState
from device_agent.errors import InstallFailed, UpdateRejected
from device_agent.ports import Scripts
from schemas.refusal import Code
from schemas.wire.report import FailureClass
from tests.support.state_scripts import ScriptDevice, recording

DOWNLOAD, INSTALL, IDLE = ScriptState.DOWNLOAD, ScriptState.INSTALL, ScriptState.IDLE
ENTER, LEAVE, ERROR = Action.ENTER, Action.LEAVE, Action.ERROR


@pytest.fixture
def device(tmp_path: Path) -> ScriptDevice:
    return ScriptDevice(tmp_path)


def test_a_device_without_scripts_runs_none_and_goes_on(device: ScriptDevice) -> None:
    port: Scripts = device.scripts()
    port.run(DOWNLOAD, ENTER, ["app"])
    port.run(INSTALL, ENTER, ["app"])
    assert device.calls == []


def test_scripts_run_in_the_order_of_their_names_and_without_arguments(
    device: ScriptDevice,
) -> None:
    device.give_image("Download_Enter_02", "Download_Enter_01_b", "Download_Enter_01")
    device.scripts().run(DOWNLOAD, ENTER, [])
    assert device.calls == ["Download_Enter_01", "Download_Enter_01_b", "Download_Enter_02"]


@pytest.mark.parametrize(
    "name",
    [
        "Download_Enter_100",
        "Download_Enter_1",
        "Download_Enter_01 b",
        "Download_Enter_01_a b",
        "Download_Enter_01_",
        "Download_Enter_01.bak",
        "download_enter_01",
        "xDownload_Enter_01",
        "Download_Leave_01",
        "Download_Error_01",
        "Sync_Enter_01",
        "ArtifactInstall_Enter_01",
        "Download_Enter_01_b\n",
        "version",
    ],
)
def test_what_is_not_named_like_a_script_of_the_phase_is_not_run(
    device: ScriptDevice, name: str
) -> None:
    device.give_image("Download_Enter_01")
    device.give_image(name)
    device.say_version("3\n")
    device.scripts().run(DOWNLOAD, ENTER, [])
    assert device.calls == ["Download_Enter_01"]


def test_a_phase_of_a_longer_name_is_another_phase(device: ScriptDevice) -> None:
    device.give_artifact("app", "ArtifactRollback_Enter_00", "ArtifactRollbackReboot_Enter_00")
    device.scripts().run(ScriptState.ROLLBACK, ENTER, ["app"])
    assert device.calls == ["ArtifactRollback_Enter_00"]


def test_a_script_that_may_not_be_executed_is_left_out_and_logged(
    device: ScriptDevice, caplog: pytest.LogCaptureFixture
) -> None:
    device.give_image("Download_Enter_01", "Download_Enter_02")
    (device.image / "Download_Enter_01").chmod(0o644)
    (device.image / "Download_Enter_03").mkdir()
    (device.image / "Download_Enter_04").symlink_to("nowhere")
    with caplog.at_level(logging.WARNING):
        device.scripts().run(DOWNLOAD, ENTER, [])
    assert device.calls == ["Download_Enter_02"]
    left_out = [Path(record.message.partition(" ")[0]).name for record in caplog.records]
    assert left_out == ["Download_Enter_01", "Download_Enter_03", "Download_Enter_04"]


def test_an_images_script_may_be_a_link_out_of_its_directory(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01")
    elsewhere = device.record / "program"
    (device.image / "Download_Enter_01").rename(elsewhere)
    (device.image / "Download_Enter_07").symlink_to(elsewhere)
    device.scripts().run(DOWNLOAD, ENTER, [])
    assert device.calls == ["Download_Enter_07"]


def test_a_script_gets_the_given_environment_and_nothing_of_ours(
    device: ScriptDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_SECRET", "1")
    device.give_image("Download_Enter_01", body='[ -z "$OUR_SECRET" ] && [ -n "$RECORD" ]')
    device.scripts().run(DOWNLOAD, ENTER, [])


def test_components_run_in_the_given_order_each_with_its_own_scripts_sorted(
    device: ScriptDevice,
) -> None:
    body = 'basename "$(dirname "$0")" >>"$RECORD/calls"'
    device.give_artifact("os", "ArtifactInstall_Enter_05", "ArtifactInstall_Enter_03", body=body)
    device.give_artifact("app", "ArtifactInstall_Enter_01", body=body)
    device.give_artifact("other", "ArtifactInstall_Enter_00", body=body)
    device.scripts().run(INSTALL, ENTER, ["os", "missing", "app"])
    assert device.calls == [
        *("ArtifactInstall_Enter_03", "os", "ArtifactInstall_Enter_05", "os"),
        *("ArtifactInstall_Enter_01", "app"),
    ]


def test_the_image_brings_no_scripts_of_an_artifacts_states(device: ScriptDevice) -> None:
    device.give_image("ArtifactInstall_Enter_00")
    device.scripts().run(INSTALL, ENTER, ["app"])
    assert device.calls == []


def test_the_first_script_that_fails_ends_its_phase(device: ScriptDevice) -> None:
    device.give_artifact("a", "ArtifactInstall_Enter_01")
    device.give_artifact("b", "ArtifactInstall_Enter_02", body="echo no room >&2; exit 42")
    device.give_artifact("c", "ArtifactInstall_Enter_03")
    with pytest.raises(InstallFailed) as caught:
        device.scripts().run(INSTALL, ENTER, ["a", "b", "c"])
    assert device.calls == ["ArtifactInstall_Enter_01", "ArtifactInstall_Enter_02"]
    script = device.artifacts / "b" / "ArtifactInstall_Enter_02"
    assert caught.value.message == f"state script {script} exited with status 42: no room"
    assert caught.value.failure is FailureClass.SCRIPT


def test_error_scripts_run_all_and_their_failures_are_told_at_the_end(
    device: ScriptDevice,
) -> None:
    device.give_image("Download_Error_01", body="exit 1")
    device.give_image("Download_Error_02", body="exit 2")
    device.give_image("Download_Error_03")
    with pytest.raises(InstallFailed, match=r"_01 exited with status 1; .*_02 exited with .* 2$"):
        device.scripts().run(DOWNLOAD, ERROR, [])
    assert device.calls == ["Download_Error_01", "Download_Error_02", "Download_Error_03"]


def test_idle_scripts_run_all_like_error_scripts(device: ScriptDevice) -> None:
    device.give_image("Idle_Leave_09", body="exit 1")
    device.give_image("Idle_Leave_10")
    with pytest.raises(InstallFailed, match="Idle_Leave_09"):
        device.scripts().run(IDLE, LEAVE, [])
    assert device.calls == ["Idle_Leave_09", "Idle_Leave_10"]


def test_scripts_of_an_undoing_run_all_when_the_caller_says_so(device: ScriptDevice) -> None:
    names = ("ArtifactFailure_Enter_01", "ArtifactFailure_Enter_02")
    device.give_artifact("app", *names, body="exit 1")
    with pytest.raises(InstallFailed, match=r"Enter_01 .*Enter_02 "):
        device.scripts().run(ScriptState.FAILURE, ENTER, ["app"], OnFailure.GO_ON)
    assert device.calls == [*names]


def test_many_failures_make_a_message_of_bounded_length(device: ScriptDevice) -> None:
    device.give_image(*(f"Download_Error_{number:02}" for number in range(7)), body="exit 1")
    with pytest.raises(InstallFailed, match=r"_00 .*_01 .*_02 exited with status 1; and 4 more$"):
        device.scripts().run(DOWNLOAD, ERROR, [])
    assert len(device.calls) == 7


def test_a_program_that_cannot_start_is_a_failure(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01")
    (device.image / "Download_Enter_01").write_text("#!/no/such/shell\n")
    with pytest.raises(InstallFailed, match="Download_Enter_01 cannot start: No such file"):
        device.scripts().run(DOWNLOAD, ENTER, [])


def test_a_directory_that_is_none_is_a_failure(device: ScriptDevice) -> None:
    device.image.write_text("")
    with pytest.raises(InstallFailed, match="cannot be read: Not a directory"):
        device.scripts().run(DOWNLOAD, ENTER, [])


def test_a_directory_without_end_is_a_failure(device: ScriptDevice) -> None:
    device.give_image("Download_Enter_01")
    for number in range(4096):
        os.mknod(device.image / f"{number}")
    with pytest.raises(InstallFailed, match="holds more than 4096 files"):
        device.scripts().run(DOWNLOAD, ENTER, [])
    assert device.calls == []


def test_a_component_cannot_lead_out_of_where_scripts_are_kept(device: ScriptDevice) -> None:
    device.give_image("ArtifactInstall_Enter_00")
    with pytest.raises(UpdateRejected) as caught:
        device.scripts().run(INSTALL, ENTER, ["../../image"])
    assert caught.value.code is Code.PATH
    assert device.calls == []


def test_bytes_that_are_no_text_in_a_name_are_shown_escaped(device: ScriptDevice) -> None:
    device.image.mkdir()
    path = os.fsencode(device.image) + b"/Download_Enter_01_\xff\x1b"
    Path(os.fsdecode(path)).write_bytes(recording("", "exit 1").content)
    Path(os.fsdecode(path)).chmod(0o755)
    with pytest.raises(InstallFailed) as caught:
        device.scripts().run(DOWNLOAD, ENTER, [])
    assert r"Download_Enter_01_\xff\x1b exited" in caught.value.message


@pytest.mark.parametrize(
    ("name", "present"),
    [
        ("Sync_Error_00", True),
        ("Idle_Enter_09", True),
        ("Idle_Enter_100", False),
        ("Download_Enter_00", False),
    ],
)
def test_the_image_says_whether_a_poll_has_scripts(
    device: ScriptDevice, name: str, present: bool
) -> None:
    device.give_image(name)
    assert device.scripts().present(IDLE, ScriptState.SYNC) is present


def test_no_directory_has_no_scripts_but_one_that_cannot_be_read_may(
    device: ScriptDevice,
) -> None:
    assert not device.scripts().present(IDLE, ScriptState.SYNC)
    device.image.write_text("")
    assert device.scripts().present(IDLE, ScriptState.SYNC)
