"""The way back: ROLLBACK, ROLLBACK_REBOOT, VERIFY_ROLLBACK and FAILURE.

Nothing stops it. What goes wrong on the way is told in the report: the components that nobody knows
about, and in words why (docs/mender-compatibility.md).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from device_agent.core.component import Component, RebootNeed
from device_agent.core.record import Record, Step
from device_agent.core.scripts import AROUND, Action, OnFailure, ScriptState
from device_agent.core.states import Outcome, Place, State, place
from device_agent.errors import AgentError, TransientError, UpdateRejected
from device_agent.ports import Installer, Ports
from schemas.wire.report import FailureClass
from schemas.wire.report import Outcome as Verdict

MAX_LOOKS = 3  # for the published tree from what ran before, each at a poll of its own

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Trouble:
    """What went wrong so far: in words, by the components that it leaves in doubt."""

    inconsistent: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def note(self, components: Sequence[str], why: str) -> None:
        log.error("%s", why)
        self.inconsistent += components
        self.words.append(why)

    def step(self, outcome: Outcome, reboots: dict[str, RebootNeed] | None = None) -> Step:
        return Step(
            outcome,
            inconsistent=tuple(self.inconsistent),
            aftermath=tuple(self.words),
            reboots=reboots or {},
        )


def work(state: State, record: Record, ports: Ports) -> Step:
    """Do the work of a state of the way back. Raises InstallFailed where it has to be repeated."""
    match state:
        case State.ROLLBACK:
            return _roll_back(record, ports)
        case State.ROLLBACK_REBOOT:
            return _reboot(record, ports)
        case State.VERIFY_ROLLBACK:
            return _verify(record, ports)
        case _:
            return _tell_failure(record, ports)


def _of(component: Component, ports: Ports) -> Installer:
    return ports.installer(component.descriptor.installer)


def _roll_back(record: Record, ports: Ports) -> Step:
    """Undo what was begun. With slots the restart follows whatever the modules say."""
    trouble, names = _Trouble(), [component.name for component in record.undo]
    undoing = [item for item in record.undo if _can_be_undone(item, ports, trouble)]
    if undoing:
        _script(AROUND[State.ROLLBACK].enter, Action.ENTER, names, ports, trouble)
    done = [item for item in undoing if _undo(item, ports, trouble)]
    if undoing:
        then = OnFailure.STOP if len(done) == len(undoing) else OnFailure.GO_ON
        _script(AROUND[State.ROLLBACK].leave, Action.LEAVE, names, ports, trouble, then)
    if record.slot is not None:
        away = place(record.slot, ports.bootloader.facts()) is not Place.ELSEWHERE
        needs = {record.components[0].name: RebootNeed.AGENT} if away else {}
    elif len(done) < len(names):
        return trouble.step(Outcome.FAILURE)
    else:
        needs = _ask_for_reboots(done, ports, trouble)
    return trouble.step(Outcome.SUCCESS if needs else Outcome.SKIP, needs)


def _can_be_undone(component: Component, ports: Ports, trouble: _Trouble) -> bool:
    try:
        if _of(component, ports).supports_rollback(component):
            return True
        trouble.note([component.name], f"{component.name} cannot be rolled back")
    except AgentError as error:
        trouble.note([component.name], f"{component.name} cannot be rolled back: {error}")
    return False


def _undo(component: Component, ports: Ports, trouble: _Trouble) -> bool:
    try:
        _of(component, ports).rollback(component)
    except AgentError as error:
        trouble.note([component.name], f"{component.name} was not rolled back: {error}")
        return False
    return True


def _ask_for_reboots(
    components: Sequence[Component], ports: Ports, trouble: _Trouble
) -> dict[str, RebootNeed]:
    """Ask again: after a rollback the answer may be another, and this one counts."""
    needs: dict[str, RebootNeed] = {}
    for component in components:
        try:
            needs[component.name] = _of(component, ports).reboot_need(component)
        except AgentError as error:
            trouble.note([component.name], f"{component.name} was rolled back, and then: {error}")
    return {name: need for name, need in needs.items() if need is not RebootNeed.NO}


def _reboot(record: Record, ports: Ports) -> Step:
    """Restart. Whether it led back, the next state finds out."""
    trouble = _Trouble()
    if record.rollback_reboots == 1:  # another try is not entered, as in Mender
        names = [component.name for component in record.undo]
        enter = AROUND[State.ROLLBACK_REBOOT].enter
        _script(enter, Action.ENTER, names, ports, trouble)
    for component in record.rebooting:
        if record.reboots[component.name] is RebootNeed.MODULE:
            try:
                _of(component, ports).rollback_reboot(component)
            except AgentError as error:
                log.warning("%s: %s", component.name, error)
    if record.reboot is RebootNeed.AGENT:
        try:
            ports.machine.reboot()
        except AgentError as error:
            log.warning("%s", error)
    return trouble.step(Outcome.SUCCESS)


def _verify(record: Record, ports: Ports) -> Step:
    for component in record.rebooting:
        _of(component, ports).verify_rollback(component)
    trouble, names = _Trouble(), [component.name for component in record.undo]
    around = AROUND[State.VERIFY_ROLLBACK]
    _script(around.leave, Action.LEAVE, names, ports, trouble)
    if trouble.words:
        _script(around.error, Action.ERROR, names, ports, _Trouble())
    return trouble.step(Outcome.SUCCESS)


def _tell_failure(record: Record, ports: Ports) -> Step:
    judged = _judge(record, ports)
    if judged.outcome is Outcome.HOLD:
        return judged
    trouble = _Trouble()
    begun = record.components[: record.begun]
    names, around = [component.name for component in begun], AROUND[State.FAILURE]
    if begun:
        _script(around.enter, Action.ENTER, names, ports, trouble)
    for component in begun:
        try:
            _of(component, ports).failure(component)
        except AgentError as error:
            trouble.note([component.name], f"{component.name}: {error}")
    if begun:
        _script(around.leave, Action.LEAVE, names, ports, trouble)
    return replace(trouble.step(Outcome.SUCCESS), verdict=judged.verdict)


def _judge(record: Record, ports: Ports) -> Step:
    """Whose fault was it that the network was away? The update's, if the tree can be used now.

    Just after a restart the network may not be there yet, hence more than one look.
    """
    problem = record.problem
    if not problem or (problem.verdict, problem.failure) != (Verdict.NEUTRAL, FailureClass.NETWORK):
        return Step(Outcome.SUCCESS)
    try:
        ports.trust.refresh()
    except (TransientError, UpdateRejected) as error:
        if record.tries + 1 < MAX_LOOKS:
            return Step(Outcome.HOLD, waiting=f"was it the update or the network? {error}")
        return Step(Outcome.SUCCESS)
    return Step(Outcome.SUCCESS, verdict=Verdict.FAILED)


def _script(
    scripts: ScriptState | None,
    action: Action,
    names: Sequence[str],
    ports: Ports,
    trouble: _Trouble,
    on_failure: OnFailure = OnFailure.STOP,
) -> None:
    if scripts is None:
        return
    try:
        ports.scripts.run(scripts, action, names, on_failure)
    except AgentError as error:
        trouble.note(names, str(error))
