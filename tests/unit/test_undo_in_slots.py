"""What has to be undone beside a root filesystem, and what an interruption is called."""

from device_agent.core.record import Record, resumed
from device_agent.core.states import State
from schemas.wire.descriptor import Scope
from tests.support.agent_fakes import MODULE, ROOTFS, a_component, a_descriptor, a_record

IN_SLOT = a_component("svc", a_descriptor("kiosk-svc", installer="files", scope=Scope.SLOT))


def undone(record: Record) -> list[str]:
    return [component.name for component in record.undo]


def test_what_lies_in_the_new_slot_is_undone_with_the_slot_and_not_by_its_module() -> None:
    assert undone(a_record(ROOTFS, IN_SLOT, MODULE, begun=3)) == ["app", "os"]


def test_a_module_in_the_running_slot_is_undone_by_itself() -> None:
    assert undone(a_record(IN_SLOT, MODULE, begun=2)) == ["app", "svc"]


def test_a_restart_during_the_health_check_of_a_module_says_nothing_of_slots() -> None:
    record = resumed(a_record(MODULE, begun=1, state=State.HEALTH), State.ROLLBACK)
    assert record.problem and record.problem.message == "interrupted (in state health)"
