"""A deployment that stops for a person before a step: of that nothing counts as begun."""

from dataclasses import replace
from pathlib import Path

import pytest

from device_agent import driver
from device_agent.core.states import State
from device_agent.driver import Decision, Result
from schemas.wire.report import Outcome
from tests.support.agent_fakes import (
    MODULE,
    OTHER,
    ROOTFS,
    STOP,
    a_manifest,
    a_record,
    a_set,
    a_trusted,
)
from tests.support.driver_device import Device, SlotInstaller


def test_every_component_is_installed_after_a_stop_before_the_install(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(MODULE, OTHER, stop_before=State.INSTALL))
    assert device.run() is Result.WAITING
    assert device.run() is Result.WAITING, "a poll in the meantime changes nothing"
    driver.decide(device.journal, device.ports, Decision.GO_ON)
    assert device.last_word.outcome is Outcome.OK
    assert [call for call in device.calls if call.startswith("install")] == [
        "install app",
        "install cfg",
    ]


def test_what_was_taken_back_before_its_install_is_not_undone(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(MODULE, stop_before=State.INSTALL))
    device.run()
    assert driver.decide(device.journal, device.ports, Decision.ROLL_BACK) is Result.IDLE
    assert device.calls == ["download app", "cleanup app"]
    assert device.last_word.message == "rolled back by hand"


@pytest.mark.parametrize("stop", [State.INSTALL, State.REBOOT])
def test_what_was_stopped_in_the_meantime_does_not_go_on(tmp_path: Path, stop: State) -> None:
    device = Device(tmp_path, a_record(ROOTFS, stop_before=stop), SlotInstaller(tmp_path))
    assert device.run() is Result.WAITING
    before = list(device.calls)
    stopped = replace(a_manifest(a_set(ROOTFS)), stop=STOP)
    device.trust.answers = [a_trusted(stopped)]
    assert driver.decide(device.journal, device.ports, Decision.GO_ON) is Result.WAITING
    assert "stopped by" in device.waiting
    assert device.calls == before
    device.trust.answers = [a_trusted(a_manifest(a_set(ROOTFS)))]
    assert device.run_through_restarts() is Result.IDLE
    assert device.last_word.outcome is Outcome.OK
