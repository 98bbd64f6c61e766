"""The work of a deployment's states, up to the commit and after it; undo.py has the way back.

The order of every effect on the device is visible in `_work`; around it run the state scripts that
core/scripts.py names, and errors become outcomes in `perform`, nowhere else.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from device_agent import fresh, undo
from device_agent.core.component import Component, RebootNeed
from device_agent.core.record import Problem, Record, Step, unpacked
from device_agent.core.scripts import AROUND, Action, Around, ScriptState
from device_agent.core.states import UNDOING, Outcome, Place, State, place
from device_agent.errors import AgentError, InstallFailed, TransientError, UpdateRejected
from device_agent.journal import Journal, JournalUnavailable
from device_agent.ports import Contents, Installer, Ports
from schemas.wire.descriptor import Scope
from schemas.wire.report import FailureClass
from schemas.wire.report import Outcome as Verdict

MAX_DOWNLOADS = 6  # attempts at one download, each at a poll of its own
MAX_COMMITS = 6  # attempts at the commits after the commit point
_TAKEN = (Place.TRIAL, Place.COMMITTED)  # the slot of the deployment runs

log = logging.getLogger(__name__)


def perform(state: State, record: Record, journal: Journal, ports: Ports) -> Step:
    """Do the work of `state` and return what came of it; errors become outcomes here only."""
    log.info("%s: set %s", state, record.set)
    try:
        if state in UNDOING:
            return undo.work(state, record, ports)
        step = _with_scripts(state, record, journal, ports)
        if state is State.INSTALL and step.outcome is Outcome.SUCCESS:
            return _ask_for_reboots(record, ports)
        return step
    except UpdateRejected as error:
        problem = Problem(Verdict.FAILED, error.failure, error.message, error.code)
    except InstallFailed as error:
        problem = Problem(Verdict.FAILED, error.failure, error.message)
    except JournalUnavailable:
        raise  # what cannot be remembered is not decided, either
    except TransientError as error:
        problem = Problem(Verdict.NEUTRAL, FailureClass.NETWORK, str(error))
    log.error("%s failed (%s): %s", state, problem.failure, problem.message)
    committed = state is State.FINISH and record.components
    return Step(Outcome.FAILURE, problem, inconsistent=_names(record) if committed else ())


def _with_scripts(state: State, record: Record, journal: Journal, ports: Ports) -> Step:
    """Enter, the work, Leave; and Error when any of them failed."""
    around = AROUND.get(state, Around()) if record.components else Around()
    names = [component.name for component in _taking_part(state, record)]
    try:
        if around.enter and _is_first(state, record):
            ports.scripts.run(around.enter, Action.ENTER, names)
        step = _work(state, record, journal, ports)
        if around.leave and step.outcome in (Outcome.SUCCESS, Outcome.SKIP):
            ports.scripts.run(around.leave, Action.LEAVE, names)
    except AgentError:
        _run_error(around.error, names, ports)
        raise
    if step.outcome is Outcome.FAILURE:
        _run_error(around.error, names, ports)
    return step


def _taking_part(state: State, record: Record) -> tuple[Component, ...]:
    if state is State.INSTALL:
        return record.before_reboot
    return record.in_trial if state is State.MODULES else record.components


def _is_first(state: State, record: Record) -> bool:
    """Say whether the state begins, as opposed to going on with its next component or try."""
    match state:
        case State.INSTALL:
            return record.begun == 1
        case State.MODULES:
            return record.begun == len(record.before_reboot) + 1
        case _:
            return record.tries == 0


def _run_error(scripts: ScriptState | None, names: Sequence[str], ports: Ports) -> None:
    if scripts is None:
        return
    try:
        ports.scripts.run(scripts, Action.ERROR, names)
    except InstallFailed as error:
        log.warning("after the failure: %s", error)  # it has failed already


def _work(state: State, record: Record, journal: Journal, ports: Ports) -> Step:
    match state:
        case State.DOWNLOAD | State.INSTALL_WAIT if found(record, ports) in _TAKEN:
            return _abandon_slot(record)
        case State.DOWNLOAD:
            return _download(record, journal, ports)
        case State.INSTALL_WAIT | State.REBOOT_WAIT:
            return fresh.check(record, journal, ports)
        case State.INSTALL:
            return _install(record, ports)
        case State.REBOOT:
            for component in record.rebooting:
                of(component, ports).activate(component)  # only now: before, a cut is harmless
            if record.reboot is RebootNeed.AGENT:
                ports.machine.reboot()
        case State.VERIFY_REBOOT:
            for component in record.rebooting:
                of(component, ports).verify(component)
            if not record.in_trial:
                return Step(Outcome.SKIP)
        case State.MODULES_DOWNLOAD:
            return _download_in_trial(record, ports)
        case State.MODULES:
            return _install_in_trial(record, ports)
        case State.HEALTH:
            for health in dict.fromkeys(item.descriptor.health for item in record.components):
                ports.health.run(health)
        case State.COMMIT:
            _commit(record, ports)
        case State.FINISH:
            return _finish(record, ports)
        case State.CLEANUP:
            _clean_up(record, ports)
    return Step(Outcome.SUCCESS)


def _abandon_slot(record: Record) -> Step:
    """Give the deployment up: before it had the slot started, the slot it writes to runs, since
    the primary does not start. That is no fault of the set, which goes into the other slot next."""
    why = f"abandoned, slot {record.slot} runs by now, for which this was"
    return Step(Outcome.ABANDON, Problem(Verdict.NEUTRAL, None, why))


def of(component: Component, ports: Ports) -> Installer:
    return ports.installer(component.descriptor.installer)


def _names(record: Record) -> tuple[str, ...]:
    return tuple(component.name for component in record.components)


def _download(record: Record, journal: Journal, ports: Ports) -> Step:
    if record.tries:
        wanted = fresh.check(record, journal, ports)
        if wanted.outcome is not Outcome.SUCCESS:
            return _again_or_give_up(wanted, record)
    if record.slot is not None:
        ports.bootloader.cancel()  # never write into a slot that may start
    step = _take(record.before_reboot, record, ports)
    if step.outcome is not Outcome.SUCCESS or not record.components:
        return step
    nothing_left = not unpacked(record.components, step.contents)
    return replace(step, outcome=Outcome.SKIP) if nothing_left else step


def _download_in_trial(record: Record, ports: Ports) -> Step:
    step = _take(record.in_trial, record, ports)
    if step.outcome is not Outcome.SUCCESS:
        return step
    nothing_left = not unpacked(record.in_trial, step.contents)
    return replace(step, outcome=Outcome.SKIP) if nothing_left else step


def _take(components: Sequence[Component], record: Record, ports: Ports) -> Step:
    """Download `components`. What cannot be undone has to be the last of the installations."""
    contents: dict[str, Contents] = {}
    try:
        for component in components:
            found = of(component, ports).download(component, ports.source)
            if found is not None:
                contents[component.name] = found
    except TransientError as error:
        held = Step(Outcome.HOLD, waiting=f"download: {error}")
        return _again_or_give_up(held, record)
    last = _without_rollback(unpacked(tuple(components), contents), record, ports)
    return Step(Outcome.SUCCESS, contents=contents, last=last)


def _again_or_give_up(step: Step, record: Record) -> Step:
    """Return `step`; when it holds for the last time, a failure. Trouble with the network is
    neutral: it says nothing about the set, which a later poll may try again."""
    if step.outcome is not Outcome.HOLD or step.objected or record.tries + 1 < MAX_DOWNLOADS:
        return step
    problem = Problem(Verdict.NEUTRAL, FailureClass.NETWORK, step.waiting or "")
    return Step(Outcome.FAILURE, problem)


def _without_rollback(components: Sequence[Component], record: Record, ports: Ports) -> str | None:
    """Return the one component that cannot be undone, if there is one. Raises InstallFailed.

    A lone component is not asked: its module has to hear Mender's calls and no other. In a trial
    boot, what lies in the slot is undone with it.
    """
    asked = [
        item for item in components if record.slot is None or item.descriptor.scope is Scope.DATA
    ]
    if len(components) + (record.slot is not None) < 2:
        return None
    final = [item.name for item in asked if not of(item, ports).supports_rollback(item)]
    if len(final) > 1:
        raise InstallFailed(
            f"{' and '.join(final)} cannot be rolled back; of a set at most one may be so",
            FailureClass.POLICY,
        )
    return final[0] if final else None


def _install(record: Record, ports: Ports) -> Step:
    if not record.components:
        return Step(Outcome.SKIP)
    component = record.components[record.begun - 1]
    of(component, ports).install(component)
    more = record.begun < len(record.before_reboot)
    return Step(Outcome.MORE if more else Outcome.SUCCESS)


def _ask_for_reboots(record: Record, ports: Ports) -> Step:
    needs = {item.name: of(item, ports).reboot_need(item) for item in record.before_reboot}
    reboots = {name: need for name, need in needs.items() if need is not RebootNeed.NO}
    return Step(Outcome.SUCCESS if reboots else Outcome.SKIP, reboots=reboots)


def _install_in_trial(record: Record, ports: Ports) -> Step:
    component = record.components[record.begun - 1]
    installer = of(component, ports)
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
    ports.scripts.check_image()
    first = record.components[0]
    if found(record, ports) is Place.ELSEWHERE:
        raise InstallFailed(f"slot {record.slot} does not run", FailureClass.COMMIT)
    try:
        of(first, ports).commit(first)
    except InstallFailed:
        if found(record, ports) is not Place.COMMITTED:
            raise


def found(record: Record, ports: Ports) -> Place:
    return place(record.slot, ports.bootloader.facts())


def _finish(record: Record, ports: Ports) -> Step:
    """After the commit point there is no way back: commit the rest again and again, to a bound."""
    if record.slot is not None:
        _repeat_slot_commit(ports)
    failed: dict[str, str] = {}
    for component in record.components[1:]:
        try:
            of(component, ports).commit(component)
        except AgentError as error:
            failed[component.name] = str(error)
    if not failed:
        return Step(Outcome.SUCCESS)
    message = "; ".join(f"{name}: {why}" for name, why in failed.items())
    if record.tries + 1 < MAX_COMMITS:
        return Step(Outcome.HOLD, waiting=f"commit: {message}")
    problem = Problem(Verdict.FAILED, FailureClass.COMMIT, message)
    return Step(Outcome.FAILURE, problem, inconsistent=tuple(failed))


def _repeat_slot_commit(ports: Ports) -> None:
    """A power cut within the commit may have kept a second copy of the boot variables behind, which
    would bring the old slot back if the first one were lost later."""
    try:
        ports.bootloader.commit()
    except AgentError as error:
        log.warning("the slot is committed, but a copy of that may be missing: %s", error)


def _clean_up(record: Record, ports: Ports) -> None:
    """What cannot be cleaned up is not worth an update: it is logged, and the outcome stays."""
    for component in record.components:
        try:
            of(component, ports).cleanup(component)
        except AgentError as error:
            log.warning("%s: cleanup: %s", component.name, error)
    with suppress(OSError):
        ports.scripts.clear()
