"""A fleet's deployment where Mender's goes another way (docs/mender-compatibility.md)."""

from pathlib import Path

import pytest

from device_agent import work
from device_agent.boot.firmware import boot
from device_agent.core.component import Component, Contents, RebootNeed
from device_agent.core.standalone import Point, StandaloneRecord
from device_agent.driver import Result
from device_agent.errors import TransientError
from device_agent.ports import ArtifactSource
from device_agent.settings import Misconfigured, parse
from device_agent.step import Stepped
from schemas.wire.decode import encode
from schemas.wire.report import FailureClass, Outcome
from tests.support import polling_device
from tests.support.agent_fakes import (
    MODULE,
    OTHER,
    ROOTFS,
    FakeInstaller,
    Rebooted,
    a_record,
)
from tests.support.driver_device import BROKEN, Device, SlotInstaller, a_module_device

TEXT = b'[device]\nname = "d"\n[server]\ntree = "https://x"\n[trust]\nroot = "root.json"\n'


class Killed(BaseException):
    """The agent is gone in the middle of a call: nothing of it may catch this."""


class DeadlyInstaller(SlotInstaller):
    """Kills the agent in the call `deadly`, the first time."""

    def __init__(self, root: Path, deadly: str) -> None:
        super().__init__(root)
        self._deadly = [deadly]

    def download(self, component: Component, source: ArtifactSource) -> Contents | None:
        self._kill("download")
        return super().download(component, source)

    def _call(self, name: str, component: object) -> None:
        self._kill(name)
        super()._call(name, component)

    def _kill(self, name: str) -> None:
        if name in self._deadly:
            self._deadly.clear()
            raise Killed


@pytest.mark.parametrize("call", ["download", "cleanup"])
def test_an_update_whose_call_is_cut_off_goes_on_and_is_good(tmp_path: Path, call: str) -> None:
    device = Device(tmp_path, a_record(MODULE), DeadlyInstaller(tmp_path, call))
    with pytest.raises(Killed):
        device.run()
    assert device.run() is Result.IDLE
    assert device.last_word.outcome is Outcome.OK
    assert device.calls[0] == "download app"
    assert device.calls[-2:] == ["commit app", "cleanup app"]


def test_the_verification_of_a_slot_that_is_cut_off_is_made_again(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(ROOTFS), DeadlyInstaller(tmp_path, "verify"))
    with pytest.raises(Rebooted):
        device.run()
    boot(tmp_path)
    with pytest.raises(Killed):
        device.run()
    assert device.run() is Result.IDLE
    assert device.last_word.outcome is Outcome.OK


def test_a_restart_that_did_not_happen_is_asked_for_again(tmp_path: Path) -> None:
    device = a_module_device(tmp_path, need=RebootNeed.AGENT)
    for _ in range(2):
        with pytest.raises(Rebooted):
            device.run()
        assert "verify app" not in device.calls
    boot(tmp_path)
    assert device.run() is Result.IDLE
    assert device.last_word.outcome is Outcome.OK


def test_a_slot_that_did_not_start_is_taken_back_without_another_restart(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(ROOTFS), SlotInstaller(tmp_path))
    with pytest.raises(Rebooted):
        device.run()
    for _ in range(3):  # two tries of the new slot that come to nothing, and the old one
        boot(tmp_path)
    assert device.run() is Result.IDLE
    assert device.calls[-4:] == ["supports_rollback os", "rollback os", "failure os", "cleanup os"]
    assert device.last_word.failure is FailureClass.REBOOT


def test_a_trial_boot_restarts_back_whatever_its_modules_answer(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(ROOTFS, MODULE), SlotInstaller(tmp_path))
    device.installer.errors["install app"] = BROKEN
    with pytest.raises(Rebooted):
        device.run()
    boot(tmp_path)
    with pytest.raises(Rebooted):
        device.run()
    assert "reboot_need app" not in device.calls


def test_modules_are_asked_about_restarts_when_all_have_installed(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(MODULE, OTHER))
    device.run()
    assert device.calls[2:8] == [
        *("supports_rollback app", "supports_rollback cfg"),
        *("install app", "install cfg"),
        *("reboot_need app", "reboot_need cfg"),
    ]


def test_the_poll_after_a_download_was_given_up_begins_it_again(tmp_path: Path) -> None:
    device = polling_device.Device(tmp_path, polling_device.APP1)
    device.wants(polling_device.APP1)
    device.installer.errors = {"download": TransientError("E_NETWORK: no route")}
    for _ in range(work.MAX_DOWNLOADS):
        device.poll()
    given_up = device.last_word
    assert given_up.outcome is Outcome.NEUTRAL
    assert device.journal.record() is None
    device.installer.errors = {}
    assert device.poll() == Stepped(Result.IDLE, worked=True)
    assert device.last_word.outcome is Outcome.OK


def the_device_had(device: Device, **provides: str) -> None:
    device.journal.drop_standalone({"artifact_name": "old", "artifact_group": "old", **provides})


def test_provides_that_become_none_are_none(tmp_path: Path) -> None:
    contents = {"app": Contents("new", modules=("m",), clears=("*",))}
    device = a_module_device(tmp_path, contents=contents)
    the_device_had(device, **{"app.version": "1"})
    device.run()
    assert device.journal.provides() == {"artifact_name": "new"}


def test_an_update_that_leaves_doubt_changes_the_name_alone(tmp_path: Path) -> None:
    provides = {"app.version": "2"}
    contents = {"app": Contents("new", group="new", modules=("m",), provides=provides)}
    installer = FakeInstaller(undoable=False, errors={"install": BROKEN}, contents=contents)
    device = Device(tmp_path, a_record(MODULE), installer)
    the_device_had(device, **{"app.version": "1"})
    device.run()
    assert device.journal.provides() == {
        "artifact_name": "new_INCONSISTENT",
        "artifact_group": "old",
        "app.version": "1",
    }


def test_the_loop_guard_does_not_count_how_long_a_device_waits(tmp_path: Path) -> None:
    device = a_module_device(tmp_path)
    wanted, away = device.trust.answers, TransientError("E_NETWORK: no route")
    device.trust.answers = [away]
    for _ in range(100):
        assert device.run() is Result.WAITING
    device.trust.answers = wanted
    device.run()
    assert device.last_word.outcome is Outcome.OK


@pytest.mark.parametrize(
    "key",
    ["ServerURL", "UpdateControlMapExpirationTimeSeconds", "UpdateControlMapBootExpirationTime"],
)
def test_a_key_of_menders_configuration_is_an_unknown_key(key: str) -> None:
    assert parse(TEXT, Path("agent.toml"))
    with pytest.raises(Misconfigured, match=f"agent.toml: {key}: unknown key"):
        parse(f"{key} = 1\n".encode() + TEXT, Path("agent.toml"))


def test_the_fleet_begins_nothing_while_an_update_by_hand_is_in_progress(tmp_path: Path) -> None:
    device = polling_device.Device(tmp_path, polling_device.APP1)
    device.wants(polling_device.APP1)
    by_hand = StandaloneRecord(Contents("mine", modules=("m",)), Point.BEFORE_COMMIT)
    device.journal.keep_standalone(encode(by_hand))
    assert device.poll() == Stepped(Result.WAITING, worked=False)
    assert "the update by hand to mine" in (device.agent._heartbeat().waiting or "")
    device.journal.drop_standalone()
    assert device.poll() == Stepped(Result.IDLE, worked=True)
