"""Runs a deployment: journal the state, do its work, look up the next. The order of every effect on
the device is visible in `_work`; what follows what is decided in core/states.py."""

import logging
from dataclasses import replace
from enum import StrEnum

from device_agent import fresh
from device_agent.core.component import Component, RebootNeed
from device_agent.core.record import (
    Problem,
    Record,
    Step,
    entered,
    given_up,
    looping,
    noted,
    resumed,
    state_event,
)
from device_agent.core.states import Outcome, Place, State, next_state, place, resume_state
from device_agent.errors import AgentError, InstallFailed, TransientError, UpdateRejected
from device_agent.journal import Journal
from device_agent.ports import Installer, Ports
from schemas.wire.report import Event, FailureClass
from schemas.wire.report import Outcome as Verdict

MAX_DOWNLOADS = 6  # attempts at one download, each at a poll of its own
MAX_COMMITS = 6  # attempts at the commits after the commit point

log = logging.getLogger(__name__)


class Result(StrEnum):
    """Where a run left the deployment: over, or waiting for the next poll."""

    IDLE = "idle"
    WAITING = "waiting"


class Decision(StrEnum):
    """A person's answer to a deployment that asks (`Record.stop_before`)."""

    GO_ON = "go on"
    ROLL_BACK = "roll back"


class NothingToDecide(AgentError):
    """No deployment waits for a person's decision."""


def begin(journal: Journal, ports: Ports, record: Record) -> None:
    """Journal a new deployment, with the report that it starts; `run` does the rest."""
    record = entered(record, record.state, ports.bootloader.facts().boot_id)
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
    if decision is Decision.ROLL_BACK:
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
            record = given_up(record)
            break
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


def _event(record: Record, ports: Ports) -> Event:
    return state_event(record, ports.new_id(), ports.clock.now())


def perform(state: State, record: Record, journal: Journal, ports: Ports) -> Step:
    """Do the work of `state` and return what came of it; errors become outcomes here only."""
    log.info("%s: set %s", state, record.set)
    try:
        return _work(state, record, journal, ports)
    except UpdateRejected as error:
        problem = Problem(Verdict.FAILED, error.failure, error.message, error.code)
    except InstallFailed as error:
        problem = Problem(Verdict.FAILED, error.failure, error.message)
    except TransientError as error:
        problem = Problem(Verdict.FAILED, FailureClass.NETWORK, str(error))
    log.error("%s failed (%s): %s", state, problem.failure, problem.message)
    return Step(Outcome.FAILURE, problem)


def _work(state: State, record: Record, journal: Journal, ports: Ports) -> Step:
    match state:
        case State.DOWNLOAD:
            return _download(record, journal, ports)
        case State.INSTALL_WAIT | State.REBOOT_WAIT:
            return fresh.check(record, journal, ports)
        case State.INSTALL:
            return _install(record, ports)
        case State.REBOOT:
            for component in _rebooting(record):
                _of(component, ports).activate(component)  # only now: before, a cut is harmless
            if record.reboot is RebootNeed.AGENT:
                ports.machine.reboot()
        case State.VERIFY_REBOOT:
            for component in _rebooting(record):
                _of(component, ports).verify(component)
            if record.begun == len(record.components):
                return Step(Outcome.SKIP)
        case State.MODULES:
            return _install_in_trial(record, ports)
        case State.HEALTH:
            for health in dict.fromkeys(item.descriptor.health for item in record.components):
                ports.health.run(health)
        case State.COMMIT:
            _commit(record, ports)
        case State.FINISH:
            return _finish(record, ports)
        case State.ROLLBACK:
            return _roll_back(record, ports)
        case State.ROLLBACK_REBOOT:
            for component in _rebooting(record):
                if record.reboots[component.name] is RebootNeed.MODULE:
                    _of(component, ports).rollback_reboot(component)
            if record.reboot is RebootNeed.AGENT:
                ports.machine.reboot()
        case State.VERIFY_ROLLBACK:
            for component in _rebooting(record):
                _of(component, ports).verify_rollback(component)
        case State.FAILURE:
            return Step(Outcome.SUCCESS, inconsistent=_tell_failure(record, ports))
        case State.CLEANUP:
            _clean_up(record, ports)
        case State.IDLE:
            pass
    return Step(Outcome.SUCCESS)


def _of(component: Component, ports: Ports) -> Installer:
    return ports.installer(component.descriptor.installer)


def _rebooting(record: Record) -> list[Component]:
    return [component for component in record.components if component.name in record.reboots]


def _download(record: Record, journal: Journal, ports: Ports) -> Step:
    if record.tries:
        wanted = fresh.check(record, journal, ports)
        if wanted.outcome is not Outcome.SUCCESS:
            return _again_or(Outcome.FAILURE, wanted, record)
    if record.slot is not None:
        ports.bootloader.cancel()  # never write into a slot that may start
    try:
        for component in record.before_reboot:
            _of(component, ports).download(component, ports.source)
    except TransientError as error:
        held = Step(Outcome.HOLD, waiting=f"download: {error}")
        return _again_or(Outcome.FAILURE, held, record)
    return Step(Outcome.SUCCESS)


def _again_or(last: Outcome, step: Step, record: Record) -> Step:
    """Return `step`; when it holds for the last time, end as `last`. Trouble with the network is
    neutral: it says nothing about the set, which a later poll may try again."""
    if step.outcome is not Outcome.HOLD or record.tries + 1 < MAX_DOWNLOADS:
        return step
    return Step(last, Problem(Verdict.NEUTRAL, FailureClass.NETWORK, step.waiting or ""))


def _install(record: Record, ports: Ports) -> Step:
    if not record.components:
        return Step(Outcome.SKIP)
    component = record.components[record.begun - 1]
    installer = _of(component, ports)
    installer.install(component)
    need = installer.reboot_need(component)
    reboots = {component.name: need} if need is not RebootNeed.NO else {}
    if record.begun < len(record.before_reboot):
        return Step(Outcome.MORE, reboots=reboots)
    restarts = record.reboots or reboots
    return Step(Outcome.SUCCESS if restarts else Outcome.SKIP, reboots=reboots)


def _install_in_trial(record: Record, ports: Ports) -> Step:
    component = record.components[record.begun - 1]
    installer = _of(component, ports)
    installer.download(component, ports.source)
    installer.install(component)
    if installer.reboot_need(component) is not RebootNeed.NO:
        raise InstallFailed(
            f"{component.name}: asks for a restart, which a module beside a root filesystem"
            " cannot have; release it in a set of its own",
            FailureClass.INSTALL,
        )
    return Step(Outcome.MORE if record.begun < len(record.components) else Outcome.SUCCESS)


def _commit(record: Record, ports: Ports) -> None:
    """The commit point. A bootloader that says it is committed is believed, whatever was raised."""
    if not record.components:
        return
    first = record.components[0]
    if _place(record, ports) is Place.ELSEWHERE:
        raise InstallFailed(f"slot {record.slot} does not run", FailureClass.COMMIT)
    try:
        _of(first, ports).commit(first)
    except InstallFailed:
        if _place(record, ports) is not Place.COMMITTED:
            raise


def _place(record: Record, ports: Ports) -> Place:
    return place(record.slot, ports.bootloader.facts())


def _finish(record: Record, ports: Ports) -> Step:
    """After the commit point there is no way back: commit the rest again and again, to a bound."""
    failed: dict[str, str] = {}
    for component in record.components[1:]:
        try:
            _of(component, ports).commit(component)
        except AgentError as error:
            failed[component.name] = str(error)
    if not failed:
        return Step(Outcome.SUCCESS)
    message = "; ".join(f"{name}: {why}" for name, why in failed.items())
    if record.tries + 1 < MAX_COMMITS:
        return Step(Outcome.HOLD, waiting=f"commit: {message}")
    problem = Problem(Verdict.FAILED, FailureClass.COMMIT, message)
    return Step(Outcome.FAILURE, problem, inconsistent=tuple(failed))


def _roll_back(record: Record, ports: Ports) -> Step:
    """Undo what was begun. With slots the restart follows whatever the modules say."""
    unknown: list[str] = []
    reboots: dict[str, RebootNeed] = {}
    for component in record.undo:
        try:
            installer = _of(component, ports)
            if not installer.supports_rollback(component):
                unknown.append(component.name)
                continue
            installer.rollback(component)
            if record.slot is None:
                reboots[component.name] = installer.reboot_need(component)
        except AgentError as error:
            log.error("%s cannot be rolled back: %s", component.name, error)
            unknown.append(component.name)
    if record.slot is not None:
        away = _place(record, ports) is not Place.ELSEWHERE
        reboots = {record.components[0].name: RebootNeed.AGENT} if away else {}
    elif unknown:
        return Step(Outcome.FAILURE, inconsistent=tuple(unknown))
    reboots = {name: need for name, need in reboots.items() if need is not RebootNeed.NO}
    outcome = Outcome.SUCCESS if reboots else Outcome.SKIP
    return Step(outcome, inconsistent=tuple(unknown), reboots=reboots)


def _tell_failure(record: Record, ports: Ports) -> tuple[str, ...]:
    unknown: list[str] = []
    for component in record.components[: record.begun]:
        try:
            _of(component, ports).failure(component)
        except AgentError as error:
            log.error("%s: %s", component.name, error)
            unknown.append(component.name)
    return tuple(unknown)


def _clean_up(record: Record, ports: Ports) -> None:
    """What cannot be cleaned up is not worth an update: it is logged, and the outcome stays."""
    for component in record.touched:
        try:
            _of(component, ports).cleanup(component)
        except AgentError as error:
            log.warning("%s: cleanup: %s", component.name, error)
