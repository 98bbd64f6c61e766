"""Updates by hand where Mender's client goes another way (docs/mender-compatibility.md)."""

import shutil
from pathlib import Path

import pytest

from tests.support.artifacts import assemble, sha256
from tests.support.standalone_device import ByHand, StandaloneDevice


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandaloneDevice:
    return StandaloneDevice(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("install",), id="no such option"),
        pytest.param(("commit",), id="too many words"),
        pytest.param(("install", "--stop-before", "Nowhere"), id="no such state"),
    ],
)
def test_a_command_line_that_is_not_understood_ends_with_2(
    device: StandaloneDevice, words: tuple[str, ...]
) -> None:
    more = ("--nonsense",) if words == ("install",) else ()
    assert device.run(*words, *more, device.artifact()) == 2
    assert device.calls == []


def test_a_device_without_a_name_takes_its_first_artifact(device: StandaloneDevice) -> None:
    assert device.provides == {}
    assert device.run("install", device.artifact()) == 0
    assert device.provides["artifact_name"] == "new"


def test_an_empty_payload_for_another_device_is_refused(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.has("old")
    told = device.artifact(ByHand(payloads=(None,), device_type="toaster"))
    assert device.run("install", told) == 1
    assert capsys.readouterr().out.endswith("System not modified.\n")
    assert device.provides == {"artifact_name": "old"}


def test_provides_that_become_none_are_none(device: StandaloneDevice) -> None:
    device.has("old", **{"app.version": "1"})
    assert device.run("install", device.artifact(ByHand(provides={}, clears=("*",)))) == 0
    assert device.provides == {"artifact_name": "new"}


def test_a_key_that_cannot_be_read_stops_everything(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.configure('verify_keys = ["absent.pem"]\n')
    assert device.run("install", device.artifact()) == 2
    assert "absent.pem" in capsys.readouterr().err
    assert device.calls == []


def test_scripts_are_not_written_before_the_header_is_known_to_be_right(
    device: StandaloneDevice,
) -> None:
    scripts = device.state / "scripts"
    device.can_roll_back()
    good = ByHand(bodies={"ArtifactInstall_Enter_00": 0})
    assert device.run("install", device.artifact(good)) == 0
    assert any(scripts.rglob("ArtifactInstall_Enter_00"))
    assert device.run("rollback") == 0
    parts = good.parts()
    listed = parts["manifest"].decode().replace(sha256(parts["header.tar"]), sha256(b"other"))
    path = device.artifact()
    path.write_bytes(assemble((parts | {"manifest": listed.encode()}).items()))
    assert device.run("install", path) == 1
    assert not any(scripts.rglob("ArtifactInstall_Enter_00"))


def test_an_update_whose_tree_is_gone_is_not_carried_on(device: StandaloneDevice) -> None:
    device.can_roll_back()
    assert device.run("install", device.artifact()) == 0
    shutil.rmtree(device.tree)
    before = device.calls
    assert device.run("commit") == 1
    assert device.calls == before
    assert device.provides["artifact_name"] == "new_INCONSISTENT"
