"""The table is total, every state is reached, every path comes to rest; resuming follows facts."""

from dataclasses import replace

import pytest

from device_agent.core.component import BootFacts, RebootNeed
from device_agent.core.states import (
    MEANING,
    RESUME,
    TRANSITIONS,
    Memory,
    Outcome,
    State,
    next_state,
    resume_state,
)

WORKING = [state for state in State if state is not State.IDLE]
S = State


@pytest.mark.parametrize("state", WORKING)
def test_every_state_says_what_follows_success(state: State) -> None:
    assert next_state(state, Outcome.SUCCESS) in State


@pytest.mark.parametrize("state", [state for state in WORKING if state is not S.CLEANUP])
def test_every_state_says_what_follows_failure(state: State) -> None:
    assert next_state(state, Outcome.FAILURE) in State


def test_a_cleanup_never_fails_an_update() -> None:
    assert set(TRANSITIONS[S.CLEANUP]) == {Outcome.SUCCESS}


def test_only_waiting_and_repeated_states_may_hold() -> None:
    holding = {state for state, row in TRANSITIONS.items() if Outcome.HOLD in row}
    waits = {S.INSTALL_WAIT, S.REBOOT_WAIT}
    assert holding == waits | {S.DOWNLOAD, S.MODULES_DOWNLOAD, S.FINISH, S.FAILURE}


def test_what_holds_or_repeats_stays_in_its_state() -> None:
    for state, row in TRANSITIONS.items():
        assert row.get(Outcome.HOLD, state) is state
        assert row.get(Outcome.MORE, state) is state


def test_nothing_abandons_after_the_reboot() -> None:
    abandoning = {state for state, row in TRANSITIONS.items() if Outcome.ABANDON in row}
    assert abandoning == {S.DOWNLOAD, S.INSTALL_WAIT, S.REBOOT_WAIT}


def test_nothing_rolls_back_after_the_commit_point() -> None:
    seen, frontier = set[State](), {S.FINISH}
    while frontier:
        seen |= frontier
        frontier = {there for here in frontier for there in TRANSITIONS.get(here, {}).values()}
        frontier -= seen
    assert seen == {S.FINISH, S.CLEANUP, S.IDLE}


def test_every_state_is_reached() -> None:
    reached, frontier = {S.DOWNLOAD}, {S.DOWNLOAD}
    while frontier:
        frontier = {there for here in frontier for there in TRANSITIONS.get(here, {}).values()}
        frontier -= reached
        reached |= frontier
    assert reached == set(State)


@pytest.mark.parametrize("state", WORKING)
def test_every_state_can_come_to_rest(state: State) -> None:
    seen, frontier = set[State](), {state}
    while frontier:
        seen |= frontier
        frontier = {there for here in frontier for there in TRANSITIONS.get(here, {}).values()}
        frontier -= seen
    assert S.IDLE in seen


def test_every_state_has_a_meaning_and_a_way_to_resume() -> None:
    assert set(MEANING) == set(State)
    assert set(RESUME) | {S.REBOOT, S.ROLLBACK_REBOOT} == set(State)


SAME, LATER = "1" * 32, "2" * 32


def facts(boot: str, running: str, primary: str = "a") -> BootFacts:
    return BootFacts(boot, running, primary, "b" if running == "b" != primary else None)


OLD_SAME, OLD_LATER = facts(SAME, "a"), facts(LATER, "a")
TRIAL_SAME, TRIAL_LATER = facts(SAME, "b"), facts(LATER, "b")
COMMITTED = facts(SAME, "b", "b")
SLOTTED, SLOTLESS = "b", None
AGENT, NO, MODULE = RebootNeed.AGENT, RebootNeed.NO, RebootNeed.MODULE


@pytest.mark.parametrize(
    ("journaled", "slot", "reboot", "boot", "resumes"),
    [
        pytest.param(S.IDLE, None, NO, OLD_SAME, S.IDLE, id="nothing to resume"),
        pytest.param(S.DOWNLOAD, "b", NO, OLD_LATER, S.DOWNLOAD, id="a download starts again"),
        pytest.param(S.INSTALL_WAIT, "b", NO, OLD_LATER, S.INSTALL_WAIT, id="a wait waits on"),
        pytest.param(S.INSTALL, "b", NO, OLD_SAME, S.ROLLBACK, id="half-installed, never booted"),
        pytest.param(S.INSTALL, None, NO, OLD_SAME, S.ROLLBACK, id="no ArtifactInstall twice"),
        pytest.param(S.REBOOT_WAIT, "b", AGENT, OLD_LATER, S.REBOOT_WAIT, id="not yet activated"),
        pytest.param(S.REBOOT, "b", AGENT, OLD_SAME, S.REBOOT, id="killed before the restart"),
        pytest.param(S.REBOOT, "b", AGENT, TRIAL_LATER, S.VERIFY_REBOOT, id="the new slot runs"),
        pytest.param(S.REBOOT, "b", AGENT, OLD_LATER, S.ROLLBACK, id="the bootloader fell back"),
        pytest.param(S.REBOOT, None, AGENT, OLD_LATER, S.VERIFY_REBOOT, id="a module's restart"),
        pytest.param(S.REBOOT, None, AGENT, OLD_SAME, S.REBOOT, id="no restart yet: again"),
        pytest.param(
            S.REBOOT, None, MODULE, OLD_SAME, S.VERIFY_REBOOT, id="ArtifactReboot is done"
        ),
        pytest.param(S.VERIFY_REBOOT, "b", AGENT, TRIAL_LATER, S.VERIFY_REBOOT, id="second try"),
        pytest.param(S.VERIFY_REBOOT, "b", AGENT, OLD_LATER, S.ROLLBACK, id="no tries left"),
        pytest.param(S.VERIFY_REBOOT, None, AGENT, OLD_SAME, S.ROLLBACK, id="as Mender does"),
        pytest.param(S.MODULES_DOWNLOAD, "b", AGENT, TRIAL_LATER, S.MODULES_DOWNLOAD, id="again"),
        pytest.param(S.MODULES_DOWNLOAD, "b", AGENT, OLD_LATER, S.ROLLBACK, id="it fell back"),
        pytest.param(S.MODULES, "b", AGENT, TRIAL_SAME, S.ROLLBACK, id="a module half-installed"),
        pytest.param(S.MODULES, "b", AGENT, OLD_LATER, S.ROLLBACK, id="fell back while installing"),
        pytest.param(S.HEALTH, "b", AGENT, TRIAL_LATER, S.HEALTH, id="check again"),
        pytest.param(S.HEALTH, "b", AGENT, OLD_LATER, S.ROLLBACK, id="fell back while checking"),
        pytest.param(S.HEALTH, None, NO, OLD_LATER, S.HEALTH, id="a module is checked again"),
        pytest.param(S.HEALTH, None, AGENT, OLD_SAME, S.HEALTH, id="in the boot it was made for"),
        pytest.param(S.HEALTH, None, AGENT, OLD_LATER, S.ROLLBACK, id="a second restart"),
        pytest.param(S.COMMIT, "b", AGENT, TRIAL_SAME, S.COMMIT, id="commit again"),
        pytest.param(S.COMMIT, "b", AGENT, COMMITTED, S.FINISH, id="the bootloader says committed"),
        pytest.param(S.COMMIT, "b", AGENT, OLD_LATER, S.ROLLBACK, id="cut before the commit"),
        pytest.param(S.COMMIT, None, NO, OLD_SAME, S.ROLLBACK, id="ArtifactCommit was cut off"),
        pytest.param(S.FINISH, "b", AGENT, COMMITTED, S.FINISH, id="the rest is repeated"),
        pytest.param(S.CLEANUP, "b", AGENT, COMMITTED, S.CLEANUP, id="clean up again"),
        pytest.param(S.ROLLBACK, "b", AGENT, TRIAL_LATER, S.ROLLBACK, id="undo again"),
        pytest.param(S.ROLLBACK_REBOOT, "b", AGENT, TRIAL_SAME, S.ROLLBACK_REBOOT, id="not yet"),
        pytest.param(S.ROLLBACK_REBOOT, "b", AGENT, OLD_LATER, S.VERIFY_ROLLBACK, id="it is back"),
        pytest.param(S.ROLLBACK_REBOOT, None, MODULE, OLD_SAME, S.VERIFY_ROLLBACK, id="it was"),
        pytest.param(S.VERIFY_ROLLBACK, "b", AGENT, OLD_LATER, S.VERIFY_ROLLBACK, id="look again"),
        pytest.param(S.FAILURE, "b", AGENT, OLD_LATER, S.FAILURE, id="tell again"),
    ],
)
def test_resuming(
    journaled: State, slot: str | None, reboot: RebootNeed, boot: BootFacts, resumes: State
) -> None:
    assert resume_state(Memory(journaled, SAME, slot, reboot), boot) is resumes


@pytest.mark.parametrize(
    ("journaled", "boot", "resumes"),
    [
        pytest.param(S.INSTALL, OLD_SAME, S.INSTALL, id="asked before the install"),
        pytest.param(S.REBOOT, OLD_LATER, S.REBOOT, id="asked before the reboot"),
        pytest.param(S.COMMIT, TRIAL_LATER, S.COMMIT, id="asked in the trial boot"),
        pytest.param(S.COMMIT, OLD_LATER, S.ROLLBACK, id="the trial boot ran out of tries"),
    ],
)
def test_a_state_before_which_a_person_is_asked_has_not_begun(
    journaled: State, boot: BootFacts, resumes: State
) -> None:
    memory = Memory(journaled, SAME, "b", AGENT, begun=False)
    assert resume_state(memory, boot) is resumes


def test_a_person_is_asked_before_a_modules_commit_without_losing_it() -> None:
    memory = Memory(S.COMMIT, SAME, None, NO, begun=False)
    assert resume_state(memory, OLD_SAME) is S.COMMIT
    assert resume_state(replace(memory, begun=True), OLD_SAME) is S.ROLLBACK
