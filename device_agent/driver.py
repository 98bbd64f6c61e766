"""Runs a deployment: journal the state, do its work, look up what is next in core/states.py."""

import logging
from dataclasses import replace
from enum import StrEnum

from device_agent.core.record import (
    Problem,
    Record,
    entered,
    given_up,
    looping,
    noted,
    resumed,
    state_event,
)
from device_agent.core.states import Outcome, State, next_state, resume_state
from device_agent.errors import AgentError
from device_agent.journal import Journal
from device_agent.ports import Ports
from device_agent.work import perform
from schemas.wire.report import Event, FailureClass
from schemas.wire.report import Outcome as Verdict

log = logging.getLogger(__name__)


class Result(StrEnum):
    """Where a run left the deployment: over, or waiting for the next poll."""

    IDLE = "idle"
    WAITING = "waiting"


class Decision(StrEnum):
    """A person's answer to a deployment that asks (`Record.stop_before`)."""

    GO_ON = "go on"
    ROLL_BACK = "roll back"


_ASKED_BEFORE = {State.INSTALL: State.INSTALL_WAIT, State.REBOOT: State.REBOOT_WAIT}
"""Where the tree and the owner are asked, before states that a person may stop at for days."""


class NothingToDecide(AgentError):
    """No deployment waits for a person's decision."""


def begin(journal: Journal, ports: Ports, record: Record) -> None:
    """Journal a new deployment, with the report that it starts; `run` does the rest."""
    record = entered(record, record.state, ports.bootloader.facts().boot_id)
    journal.make_reserve()
    journal.enter(record, [_event(record, ports)])


def run(journal: Journal, ports: Ports) -> Result:
    """Drive the journaled deployment until it is over, has to wait, or a reboot takes us away.

    Raises JournalUnavailable before anything is done that could not be remembered.
    """
    record = journal.record()
    if record is None:
        return Result.IDLE
    state = resume_state(record.memory, ports.bootloader.facts())
    return _drive(resumed(record, state), state, journal, ports)


def decide(journal: Journal, ports: Ports, decision: Decision) -> Result:
    """Go on with the deployment that asks a person, or take it back. Raises NothingToDecide."""
    record = journal.record()
    if record is None or record.stop_before is not record.state:
        raise NothingToDecide("no deployment waits for a decision")
    state = resume_state(record.memory, ports.bootloader.facts())
    record = replace(resumed(record, state), stop_before=None)
    if decision is Decision.GO_ON:
        state = _ASKED_BEFORE.get(state, state)
    else:
        state = State.ROLLBACK if record.begun else State.CLEANUP
        by_hand = Problem(Verdict.FAILED, FailureClass.POLICY, "rolled back by hand")
        record = replace(record, problem=record.problem or by_hand)
    return _drive(record, state, journal, ports)


def _drive(record: Record, state: State, journal: Journal, ports: Ports) -> Result:
    """The loop. Every state is journaled before its work, here and in `begin`, nowhere else."""
    while state is not State.IDLE:
        news = state is not record.state
        record = entered(record, state, ports.bootloader.facts().boot_id)
        if looping(record):
            log.error("gave up on set %s after %d states", record.set, record.entries)
            record, state = given_up(record), _last_words(state)
            continue
        journal.enter(record, [_event(record, ports)] if news else [])
        if state is record.stop_before:
            return Result.WAITING
        step = perform(state, record, journal, ports)
        record = noted(record, step)
        if step.outcome is Outcome.HOLD:
            journal.enter(record)  # how often, and why; the state stays
            return Result.WAITING
        state = next_state(state, step.outcome)
    record = replace(record, state=State.IDLE)
    journal.enter(record, [_event(record, ports)])
    return Result.IDLE


def _last_words(state: State) -> State:
    """Tell the modules and clean up; where that goes round in circles too, just end. What is
    committed has not failed: of that no module is told."""
    if state is State.FINISH:
        return State.CLEANUP
    return State.IDLE if state in (State.FAILURE, State.CLEANUP) else State.FAILURE


def _event(record: Record, ports: Ports) -> Event:
    return state_event(record, ports.new_id(), ports.clock.now())
