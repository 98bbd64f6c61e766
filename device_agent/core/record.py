"""The journal's record of the deployment at work, and what follows from it. Pure.

docs/protocol.md section 9: fields are only ever added, with a default, since an older agent must be
able to read the record after a rollback.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from device_agent.core.component import Component, Contents, RebootNeed, payloads
from device_agent.core.states import FRESH_CHECK, UNDOING, Memory, Outcome, State
from schemas.refusal import Code
from schemas.resolve import Running
from schemas.wire.descriptor import Scope
from schemas.wire.report import Event, EventKind, FailureClass
from schemas.wire.report import Outcome as Verdict
from schemas.wire.types import ComponentSet, Count, Positive, RolloutId, SetId

MAX_ENTRIES = 28  # more than any honest deployment enters, interruptions included: we are looping
LAST_ENTRIES = 8  # beyond them, to tell the modules and to clean up, interruptions included
INCONSISTENT = "_INCONSISTENT"  # what Mender appends to the artifact's name
MAX_MESSAGE = 1000  # characters, of an event


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a deployment does not end well. The first one is kept: later ones follow from it."""

    verdict: Verdict
    failure: FailureClass | None
    message: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One attempt at one set. `components` are what has to be installed, in the driver's order.

    `begun` counts the components whose installation was begun, `entries` the states entered,
    `tries` how often the present state was held because of trouble. `reboots` are the answers of
    the installers, `rollback_reboots` how often a restart back was begun. `contents` are what
    artifacts of Mender's format said of themselves, by the component they came for. `inconsistent`
    are the components that nobody knows about, `aftermath` what else went wrong, in words.
    `stop_before` is a person's wish to be asked before that state. `exact_state` is in the journal
    only, see journaled().
    """

    set: SetId
    content: ComponentSet
    rollout: RolloutId | None
    attempt: Positive
    components: tuple[Component, ...]
    slot: str | None
    state: State
    boot_id: str
    stage: str | None = None
    fresh_for: Positive | None = None
    begun: Count = 0
    entries: Count = 0
    tries: Count = 0
    reboots: Mapping[str, RebootNeed] = field(default_factory=dict)
    problem: Problem | None = None
    inconsistent: tuple[str, ...] = ()
    waiting: str | None = None
    stop_before: State | None = None
    contents: Mapping[str, Contents] = field(default_factory=dict)
    aftermath: tuple[str, ...] = ()
    rollback_reboots: Count = 0
    exact_state: str | None = None

    @property
    def memory(self) -> Memory:
        begun = self.stop_before is not self.state
        return Memory(self.state, self.boot_id, self.slot, self.reboot, begun=begun)

    @property
    def reboot(self) -> RebootNeed:
        needs = set(self.reboots.values())
        strongest = (RebootNeed.AGENT, RebootNeed.MODULE)
        return next((need for need in strongest if need in needs), RebootNeed.NO)

    @property
    def before_reboot(self) -> tuple[Component, ...]:
        """The components that INSTALL installs: the rootfs alone, or else all of them."""
        return self.components[:1] if self.slot is not None else self.components

    @property
    def in_trial(self) -> tuple[Component, ...]:
        """The components that MODULES installs, in the trial boot of the new rootfs."""
        return self.components[len(self.before_reboot) :]

    @property
    def rebooting(self) -> tuple[Component, ...]:
        """The components that want a restart, each in its way (`reboots`)."""
        return tuple(item for item in self.components if item.name in self.reboots)

    @property
    def undo(self) -> tuple[Component, ...]:
        """The components that have to be undone, the last first.

        Beside a root filesystem, what lies in its slot is undone with the slot. Its module must not
        be asked: by now the old slot may run, where it would undo what was never done.
        """
        begun = reversed(self.components[: self.begun])
        return tuple(item for item in begun if item.is_rootfs or not self._in_new_slot(item))

    def _in_new_slot(self, component: Component) -> bool:
        return self.slot is not None and component.descriptor.scope is Scope.SLOT


@dataclass(frozen=True, slots=True)
class Step:
    """What came of a state's work. `last` is the component that has to be installed last, `verdict`
    the one on the first problem, now that more is known."""

    outcome: Outcome
    problem: Problem | None = None
    inconsistent: tuple[str, ...] = ()
    aftermath: tuple[str, ...] = ()
    reboots: Mapping[str, RebootNeed] = field(default_factory=dict)
    contents: Mapping[str, Contents] = field(default_factory=dict)
    last: str | None = None
    verdict: Verdict | None = None
    waiting: str | None = None
    objected: bool = False


_AS_OLDER_AGENTS_KNOW: Mapping[State, State] = {State.MODULES_DOWNLOAD: State.VERIFY_REBOOT}
"""States that the first agents did not have, each with the one from which they go on as we would:
back, from the old slot; through all that has to be repeated, from the new one."""


def journaled(record: Record) -> Record:
    """Return the record as it is stored: in a state that every older agent knows, too.

    What an agent cannot read it takes for damaged, and forgets with it which sets failed here.
    """
    known = _AS_OLDER_AGENTS_KNOW.get(record.state)
    return replace(record, state=known, exact_state=record.state) if known else record


def restored(record: Record) -> Record:
    """Return the record as it was before journaled(). An exact state that only a newer agent knows
    does not count."""
    state = next((state for state in State if state == record.exact_state), record.state)
    return replace(record, state=state, exact_state=None)


def entered(record: Record, state: State, boot_id: str) -> Record:
    """Return the record of entering `state`: to be journaled before the state's work begins."""
    stays = state is record.state and record.entries > 0
    asked = "a person decides" if state is record.stop_before else None
    begun = record.begun
    if not asked and state in (State.INSTALL, State.MODULES) and begun < _last(record, state):
        begun += 1
    return replace(
        record,
        state=state,
        boot_id=boot_id,
        begun=begun,
        entries=record.entries + (not stays),
        tries=record.tries if stays else 0,
        rollback_reboots=record.rollback_reboots + (state is State.ROLLBACK_REBOOT and not stays),
        waiting=asked or (record.waiting if stays else None),
    )


def _last(record: Record, state: State) -> int:
    first = len(record.before_reboot)
    return first if state is State.INSTALL else len(record.components)


def noted(record: Record, step: Step) -> Record:
    """Return the record with what came of its state. The first problem stays."""
    before = {} if record.state is State.ROLLBACK else record.reboots
    components = unpacked(record.components, step.contents)
    problem = record.problem or step.problem
    if problem and step.verdict:
        problem = replace(problem, verdict=step.verdict)
    return replace(
        record,
        components=tuple(sorted(components, key=lambda component: component.name == step.last)),
        contents={**record.contents, **step.contents},
        problem=problem,
        inconsistent=_joined(record.inconsistent, step.inconsistent),
        aftermath=_joined(record.aftermath, step.aftermath),
        reboots={**before, **step.reboots},
        waiting=step.waiting,
        tries=record.tries + (step.outcome is Outcome.HOLD and not step.objected),
        # An owner may object for as long as it pleases: resumed() counts each poll, this one not.
        entries=record.entries - (step.objected and record.state not in FRESH_CHECK),
    )


def _joined(before: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*before, *more)))


def unpacked(
    components: tuple[Component, ...], contents: Mapping[str, Contents]
) -> tuple[Component, ...]:
    """Return the components as their artifacts turned out: one a payload, none for an empty one."""
    found: list[Component] = []
    for component in components:
        inside = contents.get(component.name)
        found += payloads(component, inside) if inside else (component,)
    return tuple(found)


def resumed(record: Record, state: State) -> Record:
    """Return the record as it goes on at `state` after an interruption.

    That counts as an entry, except where waiting is all that was going on. If the way leads back,
    the reason is noted.
    """
    if state is record.state and (state in FRESH_CHECK or not record.memory.begun):
        return record
    record = replace(record, entries=record.entries + (state is record.state))
    if state not in UNDOING or record.state in UNDOING or record.problem:
        return record
    failure = _INTERRUPTED.get(record.state, FailureClass.UNKNOWN)
    not_started = failure is FailureClass.REBOOT and record.slot is not None
    what = "the new slot did not start" if not_started else "interrupted"
    problem = Problem(Verdict.FAILED, failure, f"{what} (in state {record.state})")
    return replace(record, problem=problem)


_INTERRUPTED = {
    State.INSTALL: FailureClass.INSTALL,
    State.REBOOT: FailureClass.REBOOT,
    State.VERIFY_REBOOT: FailureClass.REBOOT,
    State.MODULES_DOWNLOAD: FailureClass.REBOOT,
    State.MODULES: FailureClass.INSTALL,
    State.HEALTH: FailureClass.REBOOT,
    State.COMMIT: FailureClass.COMMIT,
}


def looping(record: Record) -> bool:
    """Say whether to give up. The modules are told, and what they left is removed, all the same."""
    last_words = record.state in (State.FAILURE, State.CLEANUP)
    return record.entries > MAX_ENTRIES + (LAST_ENTRIES if last_words else 0)


def given_up(record: Record) -> Record:
    """Return the record's honest last word when it went round too often: nobody knows.

    What is cleaned up has ended before, well or not: that stays.
    """
    reason = f"gave up after {MAX_ENTRIES} states, the last was {record.state}; a person must look"
    told = _joined(record.aftermath, (reason,))
    if record.state is State.CLEANUP:
        return replace(record, aftermath=told)
    problem = record.problem or Problem(Verdict.FAILED, FailureClass.UNKNOWN, reason, Code.STATE)
    begun = tuple(component.name for component in record.components[: record.begun])
    return replace(
        record,
        problem=replace(problem, verdict=Verdict.FAILED),
        inconsistent=_joined(record.inconsistent, begun),
        aftermath=told if record.problem else record.aftermath,
    )


@dataclass(frozen=True, slots=True)
class Consequences:
    """What the journal stores with a record, in the same transaction.

    `installed` are artifacts whose provides hold from now on, `artifact_name` the name that says
    that nobody knows. `failed` is (set, attempt), never to be tried again; `over`: the record
    itself goes.
    """

    running: Running | None
    installed: tuple[Contents, ...]
    artifact_name: str | None
    failed: tuple[str, int] | None
    over: bool


def consequences(record: Record) -> Consequences:
    failed = record.problem is not None and record.problem.verdict is Verdict.FAILED
    committed, over = record.state is State.FINISH, record.state is State.IDLE
    by_name = sorted(record.contents.items())  # whether it was just made or read again
    contents = tuple(inside for _, inside in by_name)
    unknown = [
        inside.name
        for name, inside in by_name
        if any(one == name or one.startswith(f"{name}_") for one in record.inconsistent)
    ]
    return Consequences(
        running=Running(record.set, record.content) if committed else None,
        installed=contents if committed else (),
        artifact_name=f"{unknown[-1]}{INCONSISTENT}" if over and unknown else None,
        failed=(record.set, record.attempt) if failed else None,
        over=over,
    )


def state_event(record: Record, id: str, at: datetime) -> Event:
    """Return the report of entering a state; in IDLE, of the end of the deployment."""
    event = Event(
        id=id,
        kind=EventKind.STATE,
        at=at,
        boot_id=record.boot_id,
        rollout=record.rollout,
        set=record.set,
        attempt=record.attempt,
        state=record.state,
    )
    if record.state is not State.IDLE:
        return event
    problem = record.problem or Problem(Verdict.OK, None, "")
    return replace(
        event,
        kind=EventKind.FINISHED,
        outcome=problem.verdict,
        failure=problem.failure,
        code=problem.code,
        message=_in_words(problem, record.aftermath),
        inconsistent=record.inconsistent,
    )


def _in_words(problem: Problem, aftermath: tuple[str, ...]) -> str | None:
    return "; ".join(filter(None, (problem.message, *aftermath)))[:MAX_MESSAGE] or None
