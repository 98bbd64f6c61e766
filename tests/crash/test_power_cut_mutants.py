"""The harness is worth something only if it catches a broken agent. Each bug here must be caught.

A bug is planted by replacing a table's row or a function of the driver; some scenario must then
break an invariant. The list says in which way each bug would hurt.
"""
# ruff: noqa: ARG005 - what is replaced has arguments

from collections.abc import Callable
from dataclasses import replace

import pytest

from device_agent import driver, work
from device_agent.core import record as records
from device_agent.core import states
from device_agent.core.record import Record, Step
from device_agent.core.states import Memory, Outcome, Place, State
from device_agent.errors import AgentError
from device_agent.install import rootfs_ab
from device_agent.journal import Journal
from device_agent.ports import BootFacts, Ports
from tests.crash.harness import Mode, explore, new_device, scratch
from tests.crash.test_power_cut import SCENARIOS, check

Plant = Callable[[pytest.MonkeyPatch], None]


def caught(name: str, mode: Mode) -> bool:
    """Return whether a single crash (or none) shows a broken invariant in the scenario."""
    with scratch() as root:
        try:
            world = new_device(root / "device", SCENARIOS[name])
            for run in explore(world, mode, crashes=1):
                check(run, mode)
        except (AssertionError, AgentError):
            return True
    return False


def resume(state: State, place: Place, wrong: State) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setitem(states.RESUME, state, {**states.RESUME[state], place: wrong})

    return plant


def transition(state: State, outcome: Outcome, wrong: State) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setitem(states.TRANSITIONS, state, {**states.TRANSITIONS[state], outcome: wrong})

    return plant


def activate_before_the_check(patch: pytest.MonkeyPatch) -> None:
    real = work._work

    def eager(state: State, record: Record, journal: Journal, ports: Ports) -> Step:
        if state is State.REBOOT_WAIT:
            for component in record.before_reboot:
                ports.installer(component.descriptor.installer).activate(component)
        return real(state, record, journal, ports)

    patch.setattr(work, "_work", eager)


def ignore_the_boot_id(patch: pytest.MonkeyPatch) -> None:
    real = states.resume_state

    def forgetful(memory: Memory, boot: BootFacts) -> State:
        same = BootFacts(memory.boot_id, boot.running, boot.primary, boot.trial)
        return real(memory, same)

    patch.setattr(driver, "resume_state", forgetful)


def journal_after_the_work(patch: pytest.MonkeyPatch) -> None:
    """Store each state only when the next one begins."""
    enter, kept = Journal.enter, dict[int, Record]()

    def late(self: Journal, record: Record, events: object = ()) -> None:
        before = kept.get(id(self))
        kept[id(self)] = record
        if record.state in (State.IDLE, State.DOWNLOAD, State.FINISH):
            enter(self, record, events)  # type: ignore[arg-type]  # passed on
        elif before is not None and before.state is not State.FINISH:
            enter(self, before, events)  # type: ignore[arg-type]  # passed on

    patch.setattr(Journal, "enter", late)


def one_try(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rootfs_ab, "TRIES", 1)


def undo_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Record, "undo", property(lambda self: ()))


def undo_only_what_was_done(patch: pytest.MonkeyPatch) -> None:
    """Leave out the component whose installation was cut off."""
    whole = lambda self: tuple(reversed(self.components[: self.begun - 1]))  # noqa: E731
    patch.setattr(Record, "undo", property(whole))


def say_ok_whatever_happened(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(driver, "noted", lambda record, step: records.noted(record, Step(step.outcome)))


def forget_what_runs(patch: pytest.MonkeyPatch) -> None:
    real = records.consequences

    def forgetful(record: Record) -> records.Consequences:
        return replace(real(record), running=None)

    patch.setattr("device_agent.journal.consequences", forgetful)


def believe_a_failed_commit(patch: pytest.MonkeyPatch) -> None:
    """Take the bootloader's complaint for the truth, instead of looking."""
    patch.setattr(work, "found", lambda record, ports: Place.TRIAL)


BUGS: dict[str, tuple[Plant, str, Mode]] = {
    "a half-installed module is installed on": (
        resume(State.INSTALL, Place.NO_SLOT, State.HEALTH),
        "module",
        Mode.PROCESS_KILL,
    ),
    "an interrupted install is done again": (
        resume(State.INSTALL, Place.NO_SLOT, State.INSTALL),
        "module",
        Mode.PROCESS_KILL,
    ),
    "an interrupted commit is always rolled back": (
        resume(State.COMMIT, Place.TRIAL, State.ROLLBACK),
        "good",
        Mode.PROCESS_KILL,
    ),
    "a committed slot is rolled back": (
        resume(State.COMMIT, Place.COMMITTED, State.ROLLBACK),
        "good",
        Mode.POWER_CUT,
    ),
    "a failed health check is ignored": (
        transition(State.HEALTH, Outcome.FAILURE, State.COMMIT),
        "unhealthy",
        Mode.PROCESS_KILL,
    ),
    "a failed install is kept": (
        transition(State.INSTALL, Outcome.FAILURE, State.HEALTH),
        "module-install-fails",
        Mode.PROCESS_KILL,
    ),
    "a rollback does not return to the old slot": (
        transition(State.ROLLBACK, Outcome.SUCCESS, State.FAILURE),
        "unhealthy",
        Mode.PROCESS_KILL,
    ),
    "cleaning up is forgotten": (
        transition(State.FINISH, Outcome.SUCCESS, State.IDLE),
        "module",
        Mode.PROCESS_KILL,
    ),
    "the slot is activated before the fresh check": (
        activate_before_the_check,
        "superseded-before-reboot",
        Mode.POWER_CUT,
    ),
    "the boot id is ignored": (ignore_the_boot_id, "good", Mode.POWER_CUT),
    "a state is journaled after its work": (journal_after_the_work, "module", Mode.PROCESS_KILL),
    "a trial boot gets one try": (one_try, "good", Mode.POWER_CUT),
    "nothing is undone": (undo_nothing, "module-unhealthy", Mode.PROCESS_KILL),
    "what was cut off is not undone": (undo_only_what_was_done, "module", Mode.PROCESS_KILL),
    "every end is reported as good": (say_ok_whatever_happened, "unhealthy", Mode.PROCESS_KILL),
    "what runs is not remembered": (forget_what_runs, "good", Mode.PROCESS_KILL),
    "a complaint about a commit is believed": (
        believe_a_failed_commit,
        "commit-fails-late",
        Mode.PROCESS_KILL,
    ),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_harness_catches(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, scenario, mode = BUGS[bug]
    plant(monkeypatch)
    assert caught(scenario, mode), "this bug would go unnoticed"
