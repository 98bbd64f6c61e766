"""When the driver waits, abandons, or asks a person: nothing is done without a fresh word."""

from dataclasses import replace
from pathlib import Path

import pytest

from device_agent import driver, work
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.record import MAX_ENTRIES
from device_agent.core.states import State
from device_agent.driver import Decision, NothingToDecide, Result
from device_agent.errors import UpdateRejected
from schemas.refusal import Code
from schemas.wire.report import FailureClass, Outcome
from schemas.wire.shard import Hold
from tests.support.agent_fakes import (
    ENTRY,
    MODULE,
    OTHER,
    ROOTFS,
    STOP,
    Rebooted,
    a_manifest,
    a_record,
    a_set,
    a_trusted,
)
from tests.support.driver_device import NETWORK, Device, SlotInstaller, a_module_device


def test_a_download_waits_for_the_network_and_ends_neutral_at_a_bound(tmp_path: Path) -> None:
    device = a_module_device(tmp_path, errors={"download": NETWORK})
    results = [device.run() for _ in range(work.MAX_DOWNLOADS)]
    assert results == [Result.WAITING] * (work.MAX_DOWNLOADS - 1) + [Result.IDLE]
    word = device.last_word
    assert (word.outcome, word.failure) == (Outcome.NEUTRAL, FailureClass.NETWORK)
    assert device.journal.failed() == {}, "network trouble must not doom a set"


def test_a_download_that_waited_is_dropped_when_something_else_is_wanted(tmp_path: Path) -> None:
    device = a_module_device(tmp_path, errors={"download": NETWORK})
    device.run()
    device.trust.answers = [a_trusted(a_manifest(a_set(OTHER)))]
    assert device.run() is Result.IDLE
    assert device.last_word.outcome is Outcome.NEUTRAL


def test_a_refused_artifact_fails_the_set_and_the_attempt_is_remembered(tmp_path: Path) -> None:
    refused = UpdateRejected(Code.HASH, "wrong digest", FailureClass.CHECKSUM)
    device = a_module_device(tmp_path, errors={"download": refused})
    device.run()
    word = device.last_word
    assert (word.outcome, word.code, word.failure) == (Outcome.FAILED, "E_HASH", "checksum")
    assert device.journal.failed() == {device.record.set: 1}
    assert device.calls == ["download app", "cleanup app"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(NETWORK, "cannot be asked", id="the network is down"),
        pytest.param(
            UpdateRejected(Code.ROLLBACK, "old", FailureClass.SIGNATURE), "refused", id="a replay"
        ),
        pytest.param(
            a_trusted(replace(a_manifest(a_set(MODULE)), stop=STOP)), "stopped by", id="a stop"
        ),
        pytest.param(
            a_trusted(a_manifest(a_set(MODULE)), replace(ENTRY, hold=Hold("audit"))),
            "held: audit",
            id="a hold",
        ),
        pytest.param(
            replace(a_trusted(a_manifest(a_set(MODULE))), fetched=939.0), "61 s old", id="stale"
        ),
    ],
)
def test_nothing_is_installed_without_a_fresh_word_that_it_is_wanted(
    tmp_path: Path, answer: object, why: str
) -> None:
    device = a_module_device(tmp_path)
    device.trust.answers = [answer]  # type: ignore[list-item]  # a Trusted or an error
    assert device.run() is Result.WAITING
    assert device.calls == ["download app"]
    assert why in device.waiting
    device.trust.answers = [a_trusted(a_manifest(a_set(MODULE)))]
    assert device.run() is Result.IDLE, "it goes on when the answer comes"
    assert device.last_word.outcome is Outcome.OK


def test_a_timestamp_of_the_very_age_allowed_is_fresh(tmp_path: Path) -> None:
    device = a_module_device(tmp_path)
    device.trust.answers = [replace(a_trusted(a_manifest(a_set(MODULE))), fetched=940.0)]
    assert device.run() is Result.IDLE


def test_an_air_gapped_site_goes_on_with_the_last_answer(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(MODULE, fresh_for=None))
    device.trust.answers = [NETWORK]
    assert device.run() is Result.IDLE
    assert device.last_word.outcome is Outcome.OK


def test_a_set_superseded_before_the_install_ends_neutral_and_installs_nothing(
    tmp_path: Path,
) -> None:
    device = a_module_device(tmp_path)
    device.trust.answers = [a_trusted(a_manifest(a_set(OTHER)))]
    assert device.run() is Result.IDLE
    assert device.calls == ["download app", "cleanup app"]
    assert device.last_word.outcome is Outcome.NEUTRAL
    assert "nothing was changed" in (device.last_word.message or "")
    assert device.journal.failed() == {}


def test_a_set_superseded_before_the_reboot_is_undone_and_ends_neutral(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(ROOTFS), SlotInstaller(tmp_path))
    superseded = a_trusted(a_manifest(a_set(OTHER)))
    device.trust.answers = [a_trusted(a_manifest(a_set(ROOTFS))), superseded]
    assert device.run() is Result.IDLE
    assert "activate os" not in device.calls
    assert device.last_word.outcome is Outcome.NEUTRAL
    assert "what was begun is undone" in (device.last_word.message or "")


def test_a_held_device_does_not_spin_nor_fill_its_journal(tmp_path: Path) -> None:
    device = a_module_device(tmp_path)
    device.trust.answers = [NETWORK]
    for _ in range(3 * MAX_ENTRIES):
        assert device.run() is Result.WAITING
    assert device.states == ["download", "install-wait"]


def test_a_deployment_stops_before_the_commit_in_its_trial_boot_until_a_person_decides(
    tmp_path: Path,
) -> None:
    record = a_record(ROOTFS, stop_before=State.COMMIT)
    device = Device(tmp_path, record, SlotInstaller(tmp_path))
    assert device.run_through_restarts() is Result.WAITING
    assert device.run() is Result.WAITING, "asking again changes nothing"
    assert "commit os" not in device.calls
    assert driver.decide(device.journal, device.ports, Decision.GO_ON) is Result.IDLE
    assert FileBootloader(tmp_path).facts().primary == "b"
    assert device.last_word.outcome is Outcome.OK


def test_a_person_takes_a_deployment_back_from_its_trial_boot(tmp_path: Path) -> None:
    record = a_record(ROOTFS, stop_before=State.COMMIT)
    device = Device(tmp_path, record, SlotInstaller(tmp_path))
    device.run_through_restarts()
    with pytest.raises(Rebooted):
        driver.decide(device.journal, device.ports, Decision.ROLL_BACK)
    boot(tmp_path)
    assert device.run() is Result.IDLE
    assert device.last_word.message == "rolled back by hand"
    assert device.journal.failed() == {record.set: 1}, "or the next poll would install it again"


def test_a_module_that_waits_for_a_person_survives_a_restart_of_the_agent(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(MODULE, stop_before=State.COMMIT))
    assert device.run() is Result.WAITING
    assert device.run() is Result.WAITING
    driver.decide(device.journal, device.ports, Decision.GO_ON)
    assert device.last_word.outcome is Outcome.OK


def test_without_a_deployment_that_asks_there_is_nothing_to_decide(tmp_path: Path) -> None:
    device = a_module_device(tmp_path)
    device.run()
    with pytest.raises(NothingToDecide):
        driver.decide(device.journal, device.ports, Decision.GO_ON)
