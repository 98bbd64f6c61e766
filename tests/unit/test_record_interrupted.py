"""What a record says has to be undone, and how it bears interruptions."""

from device_agent.core.record import MAX_ENTRIES, Record, entered, looping, resumed
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


def test_the_last_words_of_a_deployment_that_gave_up_bear_two_cuts_in_each_state() -> None:
    record = a_record(MODULE, begun=1, entries=MAX_ENTRIES + 1, state=State.ROLLBACK)
    for state in (State.FAILURE, State.CLEANUP):
        record = entered(record, state, "")
        for _ in range(2):
            record = entered(resumed(record, state), state, "")
    assert not looping(record)
