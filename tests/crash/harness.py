"""Runs a scenario to its end, and again from every instant at which it may have been cut off.

Whatever lies in the device's directory at an instant is what a SIGKILL there leaves behind; a power
cut leaves less of it (disk.py). So a run remembers an image of the directory at each instant, and
each image is a device that crashed there; it is started again and has to end whole. Nothing lists
the instants, hence none can be forgotten. Images that make the same device are run once
(sameness.py).
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from device_agent import driver
from device_agent.core.states import State
from device_agent.driver import Result
from schemas.wire.report import Event, EventKind
from tests.crash.device import Restarted, crashing_ports
from tests.crash.disk import Disk, Image, Loss
from tests.crash.instants import CrashingJournal, Instants, watched
from tests.crash.sameness import Key, sameness
from tests.crash.scenarios import Scenario
from tests.crash.world import World

MAX_RESTARTS = 40
_MEMORY = Path("/dev/shm")


class Mode(StrEnum):
    POWER_CUT = "power-cut"  # unsynced writes may be lost, the firmware runs again, counts a try
    PROCESS_KILL = "process-kill"  # nothing that was written is lost, the same boot goes on


LOSSES = {Mode.POWER_CUT: tuple(Loss), Mode.PROCESS_KILL: (Loss.KEPT,)}


@dataclass
class Run:
    """How a scenario ended: the device, and what the journal said at each crash before."""

    world: World
    crashed_in: tuple[State, ...]
    finished: list[Event]


Pick = Callable[[Sequence[Image]], Sequence[Image]]


@dataclass
class Exploration:
    """What to explore, and what was seen. `pick` chooses among the images of one run."""

    mode: Mode
    pick: Pick = lambda images: images
    instants: int = 0
    images: int = 0
    runs: int = 0
    known: dict[Key, int] = field(default_factory=dict)

    def is_new(self, key: Key, crashes: int) -> bool:
        """Say whether a device was not yet run with as many crashes to come, and note it."""
        if self.known.get(key, -1) >= crashes:
            return False
        self.known[key] = crashes
        return True


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
    driver.begin(journal, crashing_ports(world, Instants()), scenario.record())
    journal.close()
    return world


def explore(
    world: World,
    exploration: Exploration,
    *,
    crashes: int,
    crashed_in: tuple[State, ...] = (),
) -> Iterator[Run]:
    """Run `world` to its end; then, from every instant passed, a device that crashed there.

    Yields each run that came to its end, with up to `crashes` crashes on the way.
    """
    instants = Instants(Disk(world.root), LOSSES[exploration.mode]) if crashes else Instants()
    try:
        yield settle(world, instants, exploration.mode, crashed_in)
    finally:
        instants.close()
    exploration.runs += 1
    exploration.instants += instants.passed if crashes else 0
    for number, image in enumerate(exploration.pick(instants.images)):
        exploration.images += 1
        crashed = World(world.root.with_name(f"{world.root.name}-{number}"), world.scenario)
        image.write_to(crashed.root)
        if exploration.mode is Mode.POWER_CUT:
            crashed.restart()
        states = (*crashed_in, crashed.journaled())
        if exploration.is_new((frozenset(states), *sameness(crashed)), crashes - 1):
            yield from explore(crashed, exploration, crashes=crashes - 1, crashed_in=states)
        shutil.rmtree(crashed.root)


def settle(world: World, instants: Instants, mode: Mode, crashed_in: tuple[State, ...] = ()) -> Run:
    """Run the agent until its deployment is over, through restarts and polls."""
    for _ in range(MAX_RESTARTS):
        with watched(instants):
            try:
                result = _poll(world, instants)
            except Restarted:
                result = None
        if result is Result.IDLE:
            return Run(world, crashed_in, _finished(world))
        if result is None:  # nobody kills the firmware, but its power may fail
            with watched(instants if mode is Mode.POWER_CUT else Instants()):
                world.restart()
    raise AssertionError("the device never came to rest")


def _poll(world: World, instants: Instants) -> Result:
    journal = CrashingJournal(world.root / "journal.db", id=secrets.token_hex(16))
    journal.instants = instants
    try:
        return driver.run(journal, crashing_ports(world, instants))
    finally:
        journal.close()
        instants.journal_synced()


def _finished(world: World) -> list[Event]:
    journal = world.journal()
    events = journal.batch(room=1 << 20).events
    journal.close()
    return [event for event in events if event.kind is EventKind.FINISHED]
