"""The agent is part of what is updated: the new slot's agent takes over the journal of the old one,
and the old one takes over again when the new slot fails. Real installers, bootloader and journals.

The first agent's journals, and what it could read, are those of tests/golden/first_agent.py.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent import driver
from device_agent.core.record import Record
from device_agent.core.states import State
from device_agent.driver import Result
from device_agent.journal import Journal
from schemas.wire.decode import decode
from schemas.wire.report import Event
from tests.crash.device import Restarted, crashing_ports
from tests.crash.harness import MAX_RESTARTS, Exploration, Mode, explore, new_device, scratch
from tests.crash.instants import Instants
from tests.crash.invariants import assert_whole_and_honest, check
from tests.crash.scenarios import BOTH, OLD_PROVIDES, SCENARIOS, Fault, Scenario
from tests.crash.world import SmallJournal, World
from tests.golden import first_agent

UNHEALTHY = replace(BOTH, fault=Fault.HEALTH)
RESTARTING = ("reboot", "rollback-reboot")
# Nobody knows how far the installation came: back, as after every interruption.
HALF_INSTALLED = ("install", "modules")
BEFORE_THE_COMMIT = first_agent.GOOD[: first_agent.GOOD.index("commit")]
READ = (
    "good",
    "unhealthy",
    "install-fails",
    "commit-fails",
    "download-fails-twice",
    "two-modules-automatic",
    "module-reboots-verify-fails",
    "module-rollback-fails",
    "second-module-commit-fails",
    "rootfs-and-module",
    "rootfs-and-module-unhealthy",
    "three-late-commit-fails",
    "rootfs-and-payloads",  # it takes the slot back, and says of the payloads that nobody knows
)  # scenarios whose journals the first agent may meet


class Interrupted(SmallJournal):
    """Takes the machine away once the state `until` is journaled, before its work begins."""

    until = ""

    def enter(self, record: Record, events: Iterable[Event] = ()) -> None:
        super().enter(record, events)
        if record.state == self.until:
            raise Restarted


class ReadByTheFirst(SmallJournal):
    """Lets the first agent's eyes read all that is there, each time a state is journaled."""

    world: World

    def enter(self, record: Record, events: Iterable[Event] = ()) -> None:
        super().enter(record, events)
        document, told = first_agent.documents(self.world.root / "journal.db")
        assert all(decode(first_agent.Event, event) for event in told)
        if document is None:
            return
        read, facts = decode(first_agent.Record, document), self.world.facts
        assert (read.set, read.slot, read.begun) == (record.set, record.slot, record.begun)
        assert [item.name for item in read.components] == [item.name for item in record.components]
        on_trial = facts.running != facts.primary
        assert not on_trial or read.state in first_agent.BACK, f"no way back from {record.state}"


def run(world: World, journal: Journal) -> Result | None:
    """Run the agent once. None: the machine went away."""
    try:
        return driver.run(journal, crashing_ports(world, Instants()))
    except Restarted:
        return None
    finally:
        journal.close()


def run_until(world: World, state: str) -> None:
    """Bring the device to where `state` is journaled; where that restarts, to after the restart."""
    for _ in range(MAX_RESTARTS):
        journal = Interrupted(world.root / "journal.db", id="0" * 32)
        journal.until = "" if state in RESTARTING else state
        assert run(world, journal) is not Result.IDLE, f"{state} was never reached"
        there = world.journaled() == state
        if not there or state in RESTARTING:
            world.restart()
        if there:
            return
    raise AssertionError(f"{state} was never reached")


def taken_over(root: Path, state: str, scenario: Scenario) -> World:
    """Return a device that the first agent brought to `state`, for today's agent to go on with."""
    world = new_device(root / "device", scenario)
    run_until(world, state)
    for file in world.root.glob("journal.db*"):
        file.unlink()
    first_agent.write_journal(state, world.root / "journal.db")
    journal = world.journal()
    journal.drop_standalone(OLD_PROVIDES)  # what the new image says of itself
    journal.close()
    return world


def go_on(state: str, scenario: Scenario, mode: Mode) -> bool:
    """Go on, and again cut off at every instant. Return whether the uncut update was installed."""
    with scratch() as root:
        world = taken_over(root, state, scenario)
        runs = explore(world, Exploration(mode), crashes=1, crashed_in=(State(state),))
        uncut = next(runs)
        installed = assert_whole_and_honest(uncut)
        check(uncut, mode)
        for cut in runs:
            check(cut, mode)
    return installed


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("state", first_agent.GOOD)
def test_a_healthy_update_that_the_first_agent_began_is_committed(state: str, mode: Mode) -> None:
    assert go_on(state, BOTH, mode) == (state not in HALF_INSTALLED)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("state", (*BEFORE_THE_COMMIT, *first_agent.BAD))
def test_an_unhealthy_update_that_the_first_agent_began_is_taken_back(
    state: str, mode: Mode
) -> None:
    assert not go_on(state, UNHEALTHY, mode)


@pytest.mark.parametrize("name", READ)
def test_the_first_agent_reads_whatever_is_journaled_and_sees_the_way_back(name: str) -> None:
    with scratch() as root:
        world = new_device(root / "device", SCENARIOS[name])
        for _ in range(MAX_RESTARTS):
            journal = ReadByTheFirst(world.root / "journal.db", id="0" * 32)
            journal.world = world
            result = run(world, journal)
            if result is Result.IDLE:
                return
            if result is None:
                world.restart()
    raise AssertionError("the device never came to rest")
