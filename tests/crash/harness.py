"""Runs a scenario to its end, and again from every instant at which it may have been cut off.

Whatever lies in the device's directory at an instant is what a SIGKILL there leaves behind: writes
that a program still buffers are not in it. So a run copies the directory at each instant, and each
copy is a device that crashed there; it is started again and has to end whole. Nothing lists the
instants, hence none can be forgotten.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from device_agent import driver
from device_agent.core.states import State
from device_agent.driver import Result
from schemas.wire.report import Event, EventKind, Outcome
from tests.crash.device import (
    NEW_FILE,
    NEW_IMAGE,
    OLD_FILE,
    OLD_IMAGE,
    CrashingJournal,
    Instants,
    Restarted,
    Scenario,
    World,
    crashing_ports,
)

MAX_RESTARTS = 40
_MEMORY = Path("/dev/shm")


class Mode(StrEnum):
    POWER_CUT = "power-cut"  # the firmware runs again, and counts a try
    PROCESS_KILL = "process-kill"  # the same boot goes on


@dataclass
class Run:
    """How a scenario ended: the device, and what the journal said at each crash before."""

    world: World
    crashed_in: tuple[State, ...]
    finished: list[Event]


@contextmanager
def scratch() -> Iterator[Path]:
    parent = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    root = Path(tempfile.mkdtemp(prefix="fleetcd-crash-", dir=parent))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def new_device(root: Path, scenario: Scenario) -> World:
    """Return a device in the new directory `root` on which the scenario's deployment begins."""
    root.mkdir()
    world = World(root, scenario)
    world.make()
    journal = world.journal()
    driver.begin(journal, crashing_ports(world, Instants(root)), scenario.record())
    journal.close()
    return world


def explore(
    world: World, mode: Mode, *, crashes: int, crashed_in: tuple[State, ...] = ()
) -> Iterator[Run]:
    """Run `world` to its end; then, from every instant passed, a copy that crashed there.

    Yields each run that came to its end, with up to `crashes` crashes on the way.
    """
    shots = world.root.with_name(world.root.name + ".shots")
    yield settle(world, Instants(world.root, shots if crashes else None), crashed_in)
    if not shots.is_dir():
        return
    for shot in sorted(shots.iterdir(), key=lambda path: int(path.name)):
        crashed = World(shot, world.scenario)
        states = (*crashed_in, _journaled(crashed))
        if mode is Mode.POWER_CUT:
            crashed.restart()
        yield from explore(crashed, mode, crashes=crashes - 1, crashed_in=states)
        shutil.rmtree(shot)
    shutil.rmtree(shots)


def settle(world: World, instants: Instants, crashed_in: tuple[State, ...]) -> Run:
    """Run the agent until its deployment is over, through restarts and polls."""
    for _ in range(MAX_RESTARTS):
        journal = CrashingJournal(world.root / "journal.db", id=secrets.token_hex(16))
        journal.instants = instants
        try:
            if driver.run(journal, crashing_ports(world, instants)) is Result.IDLE:
                return Run(world, crashed_in, _finished(journal))
        except Restarted:
            world.restart()
        finally:
            journal.close()
    raise AssertionError("the device never came to rest")


def _journaled(world: World) -> State:
    journal = world.journal()
    record = journal.record()
    journal.close()
    return record.state if record else State.IDLE


def _finished(journal: CrashingJournal) -> list[Event]:
    events = journal.batch(room=1 << 20).events
    return [event for event in events if event.kind is EventKind.FINISHED]


def assert_whole_and_honest(run: Run) -> bool:
    """Check what holds after every run. Return whether the update was installed."""
    world, facts = run.world, run.world.facts
    journal = world.journal()
    record, installed, failed = journal.record(), journal.installed(), journal.failed()
    journal.close()
    assert record is None, f"still in {record.state}"
    assert len(run.finished) == 1, f"{len(run.finished)} last words"
    word, wanted = run.finished[0], world.scenario.record()

    assert (facts.running, facts.trial) == (facts.primary, None)
    image = NEW_IMAGE if facts.primary == "b" else OLD_IMAGE
    assert world.slots[facts.primary].read_bytes() == image, "the image is not whole"
    kept = installed is not None
    if wanted.slot is not None:
        assert kept == (facts.primary == "b"), "the journal and the bootloader disagree"
    for component in wanted.components:
        if component.is_rootfs or component.name in word.inconsistent:
            continue
        content = world.file(component).read_bytes()
        assert content == (NEW_FILE if kept else OLD_FILE), f"{component.name} is torn"
    good = word.outcome is Outcome.OK
    assert not good or kept, "reported ok without the update"
    assert good or not kept or word.inconsistent, "kept, but not reported ok"
    assert (wanted.set in failed) == (word.outcome is Outcome.FAILED)
    assert not list(world.root.glob("*.saved")), "a module was not cleaned up"
    return good
