"""The owner's word: what waits for it, for how long, and where it is shown."""

from pathlib import Path

import pytest

from device_agent.boot.firmware import boot
from device_agent.core.component import RebootNeed
from device_agent.core.states import Gate
from device_agent.driver import Result
from device_agent.status import INHIBITED
from device_agent.step import Stepped
from schemas.wire.report import Outcome
from tests.support.agent_fakes import STOP, Rebooted, a_trusted
from tests.support.polling_device import APP1, APP2, NETWORK, Device

BUSY = "inhibited by kiosk: busy"
MANY = 30  # polls: more than any bound on tries, or on the states of a deployment


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path, APP1, APP2)
    device.wants(APP1)
    return device


def waiting(device: Device) -> str | None:
    return device.agent._heartbeat().waiting


def test_nothing_is_begun_while_the_owner_objects_to_the_download(device: Device) -> None:
    device.owner.objections = {Gate.DOWNLOAD: BUSY}
    for _ in range(MANY):
        assert device.poll() == Stepped(Result.WAITING, worked=False)
    assert device.installer.calls == []
    assert device.journal.record() is None
    assert waiting(device) == BUSY
    device.owner.objections = {}
    assert device.poll() == Stepped(Result.IDLE, worked=True)
    assert device.last_word.outcome is Outcome.OK
    assert waiting(device) is None


def test_the_owner_is_not_asked_when_nothing_is_wanted(device: Device) -> None:
    device.poll()
    device.owner.objections = {Gate.DOWNLOAD: BUSY}
    assert device.poll() == Stepped(Result.IDLE, worked=False)
    assert waiting(device) is None


def test_an_objection_to_what_nobody_wants_any_more_is_forgotten(device: Device) -> None:
    device.owner.objections = {Gate.DOWNLOAD: BUSY}
    device.poll()
    device.trust.answers = [a_trusted(None)]
    assert device.poll() == Stepped(Result.IDLE, worked=False)
    assert device.journal.recall(INHIBITED) is None


def test_a_download_that_is_repeated_asks_the_owner_again(device: Device) -> None:
    device.installer.errors = {"download": NETWORK}
    device.poll()
    device.owner.objections = {Gate.DOWNLOAD: BUSY}
    for _ in range(MANY):
        assert device.poll() == Stepped(Result.WAITING, worked=True), "no trouble: no rarer polls"
    assert device.installer.calls.count("download kiosk-app") == 1
    assert waiting(device) == BUSY
    device.owner.objections, device.installer.errors = {}, {}
    device.poll()
    assert device.last_word.outcome is Outcome.OK


def test_the_install_waits_for_the_owner_as_long_as_it_takes(device: Device) -> None:
    device.owner.objections = {Gate.INSTALL: BUSY}
    for _ in range(MANY):
        assert device.poll() == Stepped(Result.WAITING, worked=True)
    assert device.installer.calls == ["download kiosk-app"]
    assert (waiting(device), device.journal.recall(INHIBITED)) == (BUSY, BUSY)
    device.owner.objections = {}
    device.poll()
    assert device.last_word.outcome is Outcome.OK


def test_the_reboot_waits_for_the_owner_as_long_as_it_takes(device: Device) -> None:
    device.installer.need = RebootNeed.AGENT
    device.owner.objections = {Gate.REBOOT: BUSY}
    for _ in range(MANY):
        assert device.poll() == Stepped(Result.WAITING, worked=True)
    assert "install kiosk-app" in device.installer.calls
    assert "activate kiosk-app" not in device.installer.calls
    assert waiting(device) == BUSY
    device.owner.objections = {}
    with pytest.raises(Rebooted):
        device.poll()
    boot(device.root)
    device.poll()
    assert device.last_word.outcome is Outcome.OK


def test_an_air_gapped_device_asks_its_owner_too(device: Device) -> None:
    device.wants(APP1, fresh_for=None)
    device.owner.objections = {Gate.INSTALL: BUSY}
    device.poll()
    device.trust.answers = [NETWORK]
    device.poll()
    assert waiting(device) == BUSY


def test_the_trees_word_comes_before_the_owners(device: Device) -> None:
    device.owner.objections = {Gate.INSTALL: BUSY}
    device.poll()
    device.wants(APP1, stop=STOP)
    device.poll()
    assert "stopped by" in (waiting(device) or "")
    assert device.journal.recall(INHIBITED) is None, "whether the owner objects, nobody asked"


def test_what_the_owner_keeps_away_can_still_be_superseded(device: Device) -> None:
    device.owner.objections = {Gate.INSTALL: BUSY}
    device.poll()
    device.wants(APP2)
    assert device.poll().result is Result.IDLE
    assert device.last_word.outcome is Outcome.NEUTRAL
    assert device.installer.calls == ["download kiosk-app", "cleanup kiosk-app"]
