"""The Update Module protocol, version 3: the tree a module works in, and calls after Download."""

import errno
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from device_agent.errors import InstallFailed
from device_agent.modules.installer import UpdateModuleInstaller
from device_agent.modules.payload import Header, PayloadFile
from device_agent.modules.tree import Current
from schemas.wire.report import FailureClass
from tests.support.artifacts import Build
from tests.support.mender_device import STEPS, MenderDevice, left_running, ready

ONE = Build(payloads=({"rootfs": b"content"},), kinds=("m",))
QUICK = 0.4  # seconds for a call of a module that is to run out of time
HEADER = Header("name", "", "m", b"{}", b"{}", b"null")


def test_the_tree_has_the_bytes_of_the_specification(tmp_path: Path) -> None:
    device = MenderDevice(tmp_path)
    device.module("m")
    device.provides["artifact_group"] = "kiosks"
    info = {"artifact_provides": {"artifact_name": "new", "artifact_group": "stable"}}
    provides = {"artifact_provides": {"b": "2", "A": "1"}}
    device.download(replace(ONE, info=info, type_info=provides, meta_data=b'{"k":{}, "a":[1]}'))
    tree = device.tree()
    written = {
        str(path.relative_to(tree)): path.read_text()
        for path in tree.rglob("*")
        if path.is_file() and path.parent.name != "files"
    }
    assert written == {
        "version": "3\n",
        "current_artifact_name": "kiosk-1.4\n",
        "current_artifact_group": "kiosks\n",
        "current_device_type": "kiosk\n",
        "header/artifact_name": "new",
        "header/artifact_group": "stable",
        "header/payload_type": "m",
        "header/header-info": HEADER_INFO,
        "header/type-info": TYPE_INFO,
        "header/meta-data": '{\n  "a": [\n    1\n  ],\n  "k": {}\n}',
    }
    assert list((tree / "tmp").iterdir()) == []


HEADER_INFO = """{
  "artifact_depends": {
    "device_type": [
      "kiosk"
    ]
  },
  "artifact_provides": {
    "artifact_group": "stable",
    "artifact_name": "new"
  },
  "payloads": [
    {
      "type": "m"
    }
  ]
}"""
TYPE_INFO = """{
  "artifact_provides": {
    "A": "1",
    "b": "2"
  },
  "type": "m"
}"""


def test_what_is_not_there_is_an_empty_file_or_null(tmp_path: Path) -> None:
    device = MenderDevice(tmp_path)
    device.module("m")
    device.download(ONE)
    tree = device.tree()
    assert (tree / "current_artifact_group").read_bytes() == b""
    assert (tree / "header/artifact_group").read_bytes() == b""
    assert (tree / "header/meta-data").read_bytes() == b"null"


def test_a_device_that_never_had_an_artifact_names_the_release_it_runs(tmp_path: Path) -> None:
    device = MenderDevice(tmp_path)
    device.module("m")
    device.provides.clear()
    device.download(ONE)
    assert (device.tree() / "current_artifact_name").read_bytes() == b"kiosk-app@1.4.2\n"


@pytest.mark.parametrize("call", STEPS)
def test_a_module_is_called_with_its_state_and_its_tree_and_works_there(
    tmp_path: Path, call: str
) -> None:
    look = 'echo "$# $1 $2" > "$RECORD/argv"; pwd -P > "$RECORD/cwd"'
    device = ready(tmp_path, {call: look})
    tree = device.device.tree()
    device.take(call)
    assert device.device.read("argv").decode() == f"2 {call} {tree}\n"
    assert device.device.read("cwd").decode() == f"{tree}\n"


@pytest.mark.parametrize("call", STEPS)
def test_a_call_that_takes_too_long_is_ended_with_all_its_children(
    tmp_path: Path, call: str
) -> None:
    script = "trap '' TERM\nsleep 60 & echo $! > \"$RECORD/pid\"\nsleep 60; sleep 60"
    device = ready(tmp_path, {call: script})
    device.hurry(QUICK, 0.2)
    with pytest.raises(InstallFailed, match=f"{call} did not end in time") as caught:
        device.take(call)
    assert caught.value.failure is FailureClass.TIMEOUT
    assert not left_running(device.device)


def test_term_comes_first_and_gives_time_to_tidy_up(tmp_path: Path) -> None:
    tidy = "trap 'echo tidy > \"$RECORD/tidy\"; exit 0' TERM\nsleep 60 & wait"
    device = ready(tmp_path, {"ArtifactCommit": tidy})
    device.hurry(1.0, 10.0)
    with pytest.raises(InstallFailed, match="did not end in time"):
        device.take("ArtifactCommit")
    assert device.device.read("tidy") == b"tidy\n"


@pytest.mark.parametrize("call", STEPS)
def test_children_that_a_module_leaves_behind_hold_nothing_up(tmp_path: Path, call: str) -> None:
    device = ready(tmp_path, {call: "sleep 30 &"})
    before = time.monotonic()
    device.take(call)
    assert time.monotonic() - before < 10


@pytest.mark.parametrize("stream", ["", " >&2"])
def test_a_state_may_say_as_much_as_it_likes(tmp_path: Path, stream: str) -> None:
    flood = f"head -c 300000000 /dev/zero{stream}"
    ready(tmp_path, {"ArtifactInstall": flood}).take("ArtifactInstall")


@pytest.mark.parametrize("call", STEPS)
def test_without_its_tree_only_cleanup_succeeds_and_nobody_is_called(
    tmp_path: Path, call: str
) -> None:
    device = ready(tmp_path, {})
    device.device.settings.tree("app").remove()
    if call == "Cleanup":
        device.take(call)
    else:
        with pytest.raises(InstallFailed, match=r"the tree .* is gone"):
            device.take(call)
    assert f"m {call} app" not in device.device.calls


CLEANUPS = {"well": "true", "badly": "exit 1", "never": "sleep 60", "by itself": 'rm -rf "$2"'}


@pytest.mark.parametrize("how", CLEANUPS)
def test_the_tree_is_gone_after_a_cleanup_that_ends(tmp_path: Path, how: str) -> None:
    device = ready(tmp_path, {"Cleanup": CLEANUPS[how]})
    device.hurry(QUICK if how == "never" else 20.0, 1.0)
    failure = None
    try:
        device.take("Cleanup")
    except InstallFailed as error:
        failure = error.failure
    ends = {"badly": FailureClass.SCRIPT, "never": FailureClass.TIMEOUT}
    assert failure is ends.get(how)
    assert not device.device.tree().exists()


def test_a_module_that_answers_yes_reboots_by_itself(tmp_path: Path) -> None:
    device = ready(tmp_path, {"NeedsArtifactReboot": "echo Yes"})
    device.take("NeedsArtifactReboot")
    device.device.installer.activate(device.part)
    assert device.device.calls[-1] == "m ArtifactReboot app"


def test_a_call_that_the_module_does_not_know_is_no_error(tmp_path: Path) -> None:
    device = ready(tmp_path, {})
    assert [device.take(call) for call in STEPS if call.startswith("Artifact")] == [None] * 7


def test_stored_files_and_the_whole_tree_are_on_the_disk_before_the_download_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, set[Path]()

    def note(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", note)
    tree = ready(tmp_path, {}).device.tree()
    assert synced >= {tree, *tree.rglob("*")}


@dataclass(frozen=True, slots=True)
class Unwritable:
    """A payload whose file cannot be written: `why` is what the system says."""

    why: int
    header: Header = HEADER

    def files(self) -> Iterator[PayloadFile]:
        yield PayloadFile("rootfs", 1, self.refused())

    def refused(self) -> Iterator[bytes]:
        yield b"begun"
        raise OSError(self.why, os.strerror(self.why))


@pytest.mark.parametrize(
    ("why", "failure"),
    [(errno.ENOSPC, FailureClass.SPACE), (errno.EROFS, FailureClass.DOWNLOAD)],
    ids=["full", "read only"],
)
def test_a_disk_that_takes_nothing_is_a_failed_download(
    tmp_path: Path, why: int, failure: FailureClass
) -> None:
    device = ready(tmp_path, {})
    installer = UpdateModuleInstaller("m", device.device.settings, lambda _: None)
    with pytest.raises(InstallFailed, match=os.strerror(why)) as caught:
        installer.receive(device.part, Unwritable(why), Current(None, None, "kiosk"))
    assert caught.value.failure is failure
    assert list(device.device.tree().glob("files/*")) == []
