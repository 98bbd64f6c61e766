"""What the driver does, in which order, and what it says at the end."""
# ruff: noqa: ARG002, ARG005 - ports' shapes

from dataclasses import replace
from pathlib import Path

import pytest

from device_agent import driver, work
from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.component import RebootNeed
from device_agent.core.record import MAX_ENTRIES
from device_agent.driver import Result
from device_agent.errors import InstallFailed
from device_agent.journal import Journal
from schemas.resolve import Running
from schemas.wire.report import FailureClass, Outcome
from tests.support.agent_fakes import (
    MODULE,
    OTHER,
    ROOTFS,
    STOP,
    FakeInstaller,
    FakeTrust,
    Rebooted,
    a_manifest,
    a_record,
    a_set,
    a_trusted,
    fake_ports,
)
from tests.support.driver_device import BROKEN, NETWORK, Device, SlotInstaller, a_module_device


def test_one_module_makes_exactly_menders_calls(tmp_path: Path) -> None:
    device = a_module_device(tmp_path)
    assert device.run() is Result.IDLE
    assert device.calls == [
        "download app",
        "install app",
        "reboot_need app",
        "commit app",
        "cleanup app",
    ]
    assert device.last_word.outcome is Outcome.OK


def test_a_module_that_reboots_by_itself_makes_menders_calls(tmp_path: Path) -> None:
    device = a_module_device(tmp_path, need=RebootNeed.MODULE)
    device.run()
    assert device.calls[2:] == [
        "reboot_need app",
        "activate app",
        "verify app",
        "commit app",
        "cleanup app",
    ]


def test_a_failed_install_is_rolled_back_with_menders_calls(tmp_path: Path) -> None:
    device = a_module_device(tmp_path, errors={"install": BROKEN})
    device.run()
    assert device.calls[1:] == [
        "install app",
        "supports_rollback app",
        "rollback app",
        "reboot_need app",
        "failure app",
        "cleanup app",
    ]
    assert device.last_word.failure is FailureClass.INSTALL
    assert device.last_word.message == "it broke"


def test_a_rollback_restarts_when_the_module_asks_for_it_again(tmp_path: Path) -> None:
    device = a_module_device(tmp_path, need=RebootNeed.MODULE, errors={"verify": BROKEN})
    device.run()
    assert device.calls[6:] == [
        "rollback app",
        "reboot_need app",
        "rollback_reboot app",
        "verify_rollback app",
        "failure app",
        "cleanup app",
    ]


def test_a_module_that_cannot_be_undone_is_reported_inconsistent(tmp_path: Path) -> None:
    device = a_module_device(tmp_path, undoable=False, errors={"install": BROKEN})
    device.run()
    assert "rollback app" not in device.calls
    assert device.last_word.inconsistent == ("app",)


def test_a_failed_rollback_is_reported_inconsistent_and_the_first_problem_stays(
    tmp_path: Path,
) -> None:
    other = InstallFailed("cannot undo", FailureClass.ROLLBACK)
    device = a_module_device(tmp_path, errors={"install": BROKEN, "rollback": other})
    device.run()
    assert device.last_word.message == "it broke; app was not rolled back: cannot undo"
    assert device.last_word.inconsistent == ("app",)


def test_a_cleanup_that_fails_does_not_fail_the_update(tmp_path: Path) -> None:
    device = a_module_device(tmp_path, errors={"cleanup": BROKEN})
    device.run()
    assert device.last_word.outcome is Outcome.OK


def test_only_the_components_that_were_begun_are_undone_the_last_first(tmp_path: Path) -> None:
    third = replace(OTHER, name="zzz")
    device = Device(tmp_path, a_record(MODULE, OTHER, third))
    device.installer.errors["install cfg"] = BROKEN
    device.run()
    assert [call for call in device.calls if call.startswith("rollback ")] == [
        "rollback cfg",
        "rollback app",
    ]
    assert "install zzz" not in device.calls


def test_the_slot_is_activated_after_the_fresh_check_and_never_before(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(ROOTFS), SlotInstaller(tmp_path))
    stopped = a_trusted(replace(a_manifest(a_set(ROOTFS)), stop=STOP))
    device.trust.answers = [a_trusted(a_manifest(a_set(ROOTFS))), stopped]
    assert device.run() is Result.WAITING
    assert device.calls == ["download os", "install os"]
    assert FileBootloader(tmp_path).facts().trial is None
    assert device.waiting == "stopped by operator: something smells"


def test_modules_beside_a_rootfs_are_installed_inside_the_trial_boot(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(ROOTFS, MODULE), SlotInstaller(tmp_path))
    with pytest.raises(Rebooted):
        device.run()
    assert "download app" not in device.calls
    boot(tmp_path)
    assert device.run() is Result.IDLE
    assert device.calls[3:] == [
        "verify os",
        "download app",
        "supports_rollback app",
        "install app",
        "commit os",
        "commit app",
        "cleanup os",
        "cleanup app",
    ]
    assert FileBootloader(tmp_path).facts().primary == "b"


def test_a_failure_in_the_trial_boot_undoes_modules_first_and_returns_to_the_old_slot(
    tmp_path: Path,
) -> None:
    device = Device(tmp_path, a_record(ROOTFS, MODULE), SlotInstaller(tmp_path))
    device.health.error = InstallFailed("no answer", FailureClass.HEALTHCHECK)
    device.run_through_restarts()
    undone = [call for call in device.calls if call.startswith(("rollback", "verify_rollback"))]
    assert undone == ["rollback app", "rollback os", "verify_rollback os"]
    assert FileBootloader(tmp_path).facts().running == "a"
    assert device.last_word.failure is FailureClass.HEALTHCHECK


def test_a_module_beside_a_rootfs_that_asks_for_a_restart_is_refused(tmp_path: Path) -> None:
    installer = SlotInstaller(tmp_path)
    installer.reboot_need = lambda component: RebootNeed.AGENT  # type: ignore[method-assign]  # another answer
    device = Device(tmp_path, a_record(ROOTFS, MODULE), installer)
    device.run_through_restarts()
    assert "release it in a set of its own" in (device.last_word.message or "")


def test_what_runs_is_stored_at_the_commit_point(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(MODULE, OTHER))
    device.installer.errors["commit cfg"] = BROKEN
    assert device.run() is Result.WAITING
    installed = device.journal.installed()
    assert installed and installed.running == Running(device.record.set, device.record.content)


def test_a_commit_after_the_commit_point_is_repeated_and_then_reported_inconsistent(
    tmp_path: Path,
) -> None:
    device = Device(tmp_path, a_record(MODULE, OTHER))
    device.installer.errors["commit cfg"] = BROKEN
    results = [device.run() for _ in range(work.MAX_COMMITS)]
    assert results == [Result.WAITING] * (work.MAX_COMMITS - 1) + [Result.IDLE]
    assert device.last_word.inconsistent == ("cfg",)
    assert "rollback app" not in device.calls


def test_a_commit_that_failed_before_the_commit_point_is_rolled_back(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(MODULE, OTHER))
    device.installer.errors["commit app"] = InstallFailed("no", FailureClass.COMMIT)
    device.run()
    assert "commit cfg" not in device.calls
    assert device.last_word.failure is FailureClass.COMMIT
    assert device.journal.installed() is None


def test_a_rollback_that_never_works_is_given_up_and_reported(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record(ROOTFS), SlotInstaller(tmp_path))
    device.installer.errors = {
        "verify os": BROKEN,
        "verify_rollback os": InstallFailed("still there", FailureClass.ROLLBACK),
    }
    for _ in range(MAX_ENTRIES):
        try:
            result = device.run()
            break
        except Rebooted:
            boot(tmp_path)
    assert result is Result.IDLE
    assert device.last_word.outcome is Outcome.FAILED
    assert device.last_word.inconsistent == ("os",)
    assert device.calls[-2:] == ["failure os", "cleanup os"]
    before = list(device.calls)
    assert device.run() is Result.IDLE
    assert device.calls == before, "the device is not touched any more"


def test_every_state_is_journaled_before_its_work(tmp_path: Path) -> None:
    device = a_module_device(tmp_path)
    seen: list[str] = []

    class Watching(FakeInstaller):
        def _call(self, name: str, component: object) -> None:
            record = device.journal.record()
            assert record
            seen.append(f"{record.state}: {name}")

    device.installer = Watching()
    device.run()
    assert seen == [
        "download: download",
        "install: install",
        "install: reboot_need",
        "commit: commit",
        "cleanup: cleanup",
    ]


def test_events_tell_each_state_once_in_order(tmp_path: Path) -> None:
    device = a_module_device(tmp_path)
    device.run()
    assert device.states == [
        "download",
        "install-wait",
        "install",
        "health",
        "commit",
        "finish",
        "cleanup",
        "idle",
    ]
    assert {event.rollout for event in device.events} == {device.record.rollout}


def test_a_set_of_configuration_only_is_finished_without_a_component(tmp_path: Path) -> None:
    device = Device(tmp_path, a_record())
    assert device.run() is Result.IDLE
    assert device.last_word.outcome is Outcome.OK


def test_a_trial_that_is_left_over_is_dropped_before_its_slot_is_written(tmp_path: Path) -> None:
    boot(tmp_path)
    FileBootloader(tmp_path).activate("b", tries=2)
    trials: list[str | None] = []

    class Watching(SlotInstaller):
        def download(self, component: object, source: object) -> None:
            trials.append(FileBootloader(tmp_path).facts().trial)

    record = a_record(ROOTFS)
    journal = Journal(tmp_path / "journal.db", id="0" * 32)
    ports = fake_ports(
        FileBootloader(tmp_path),
        trust=FakeTrust([NETWORK]),
        installer=Watching(tmp_path),
    )
    driver.begin(journal, ports, record)
    driver.run(journal, ports)
    assert trials == [None]
