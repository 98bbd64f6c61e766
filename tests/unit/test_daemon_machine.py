"""Restarting: by a command that has to end this process in time, or by leaving to a supervisor."""

import pytest

from device_agent.errors import InstallFailed
from device_agent.machine import ExitToReboot, RebootCommand
from schemas.wire.report import FailureClass


def test_a_machine_that_lives_on_too_long_after_its_reboot_has_failed() -> None:
    slept: list[float] = []
    with pytest.raises(InstallFailed, match="did not restart the machine within 600 s") as caught:
        RebootCommand(["true"], slept.append).reboot()
    assert slept == [600.0]
    assert caught.value.failure is FailureClass.REBOOT


@pytest.mark.parametrize("argv", [["false"], ["/no/such/command"]], ids=["fails", "is missing"])
def test_a_reboot_command_that_does_not_work_has_failed_at_once(argv: list[str]) -> None:
    slept: list[float] = []
    with pytest.raises(InstallFailed, match=argv[0]):
        RebootCommand(argv, slept.append).reboot()
    assert slept == []


def test_leaving_to_a_supervisor_is_status_75() -> None:
    with pytest.raises(SystemExit) as leaving:
        ExitToReboot().reboot()
    assert leaving.value.code == 75
