"""The artifact that an image brings to say what it is: taken once, and never in the way."""

from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.app_installing import bootstrap
from device_agent.errors import UpdateRejected
from device_agent.journal import Journal, JournalUnavailable
from device_agent.settings import load_local
from schemas.refusal import Code
from schemas.wire.descriptor import Scope
from schemas.wire.report import EventKind, FailureClass
from tests.support import polling_device
from tests.support.agent_fakes import a_descriptor
from tests.support.artifact_keys import PEMS, SIGNERS
from tests.support.standalone_device import ByHand, StandaloneDevice

IMAGE = ByHand(payloads=(None,), name="image-1")
SAID = {"artifact_name": "image-1"}
KEYS = 'verify_keys = ["key.pem"]\n'


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandaloneDevice:
    return StandaloneDevice(tmp_path, monkeypatch)


def brought(device: StandaloneDevice, build: ByHand = IMAGE) -> Path:
    device.state.mkdir(exist_ok=True)
    return device.artifact(build, "state/bootstrap.mender")


def look(device: StandaloneDevice, journal: Journal | None = None) -> UpdateRejected | None:
    return bootstrap(load_local(device.config), journal or device.journal)


def test_what_an_image_says_of_itself_is_taken_once(device: StandaloneDevice) -> None:
    path = brought(device)
    assert look(device) is None
    assert (device.provides, path.exists()) == (SAID, False)
    assert device.calls == [], "no module and no script runs"


def test_who_knows_something_already_only_removes_it(device: StandaloneDevice) -> None:
    device.has("old")
    path = brought(device)
    assert look(device) is None
    assert (device.provides, path.exists()) == ({"artifact_name": "old"}, False)


@pytest.mark.parametrize(
    ("build", "artifacts", "code"),
    [
        pytest.param(IMAGE, "", Code.SIGNATURE, id="no keys, and not accepted unsigned"),
        pytest.param(IMAGE, KEYS, Code.SIGNATURE, id="signed by nobody"),
        pytest.param(ByHand(), None, Code.TYPE, id="a payload"),
        pytest.param(
            ByHand(payloads=(None,), device_type="other"), None, Code.COMPAT, id="another device"
        ),
    ],
)
def test_what_is_refused_is_removed_and_changes_nothing(
    device: StandaloneDevice, build: ByHand, artifacts: str | None, code: Code
) -> None:
    (device.root / "key.pem").write_bytes(PEMS[2])
    if artifacts is not None:
        device.configure(artifacts=artifacts)
    path = brought(device, build)
    refused = look(device)
    assert refused
    assert refused.code is code
    assert (device.provides, device.calls, path.exists()) == ({}, [], False)


def test_a_signed_one_is_taken(device: StandaloneDevice) -> None:
    (device.root / "key.pem").write_bytes(PEMS[2])
    device.configure(artifacts=KEYS)
    sign = SIGNERS["ed25519"]
    brought(device, replace(IMAGE, sign=sign))
    assert look(device) is None
    assert device.provides == SAID


def test_bytes_that_are_no_artifact_are_removed(device: StandaloneDevice) -> None:
    path = brought(device)
    path.write_bytes(b"no artifact")
    assert look(device)
    assert not path.exists()


def test_keys_that_cannot_be_read_are_told_and_the_artifact_stays(
    device: StandaloneDevice,
) -> None:
    device.configure(artifacts=KEYS)
    path = brought(device)
    refused = look(device)
    assert refused
    assert "artifacts.verify_keys" in refused.message
    assert path.exists()


def test_an_update_by_hand_that_is_in_progress_comes_first(device: StandaloneDevice) -> None:
    device.can_roll_back()
    assert device.run("install", device.artifact()) == 0
    path = brought(device)
    assert look(device) is None
    assert path.exists()
    assert device.run("commit") == 0
    assert look(device) is None
    assert (device.provides["artifact_name"], path.exists()) == ("new", False)


def test_what_cannot_be_remembered_is_tried_again(device: StandaloneDevice) -> None:
    class Full(Journal):
        def drop_standalone(self, provides: object = None) -> None:  # noqa: ARG002 - the journal's
            raise JournalUnavailable("the disk is full")

    path = brought(device)
    full = Full(device.state / "journal.db", id="0" * 32)
    assert look(device, full) is None
    assert path.exists()
    assert look(device) is None
    assert device.provides == SAID


def test_it_is_known_to_the_first_update_by_hand(device: StandaloneDevice) -> None:
    brought(device)
    device.does("ArtifactInstall", 'cp "$2/current_artifact_name" "$RECORD/before"')
    assert device.run("install", device.artifact()) == 0
    assert (device.record / "before").read_text() == "image-1\n"


def test_a_refused_one_is_reported_and_the_poll_goes_on(tmp_path: Path) -> None:
    app = a_descriptor("kiosk-app", installer="files", scope=Scope.DATA)
    device = polling_device.Device(tmp_path, app)
    device.wants(app)
    refusal = UpdateRejected(Code.TYPE, "it has a payload", FailureClass.POLICY)
    device.bootstrap = lambda: refusal
    assert device.poll().trouble is None
    refused = [event for event in device.reporter.heard if event.kind is EventKind.REFUSED]
    assert [event.message for event in refused] == ["it has a payload"]
    assert device.journal.installed(), "the fleet's update was installed all the same"
