"""A device that does not run its primary, cut off at every instant until it does again."""

import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from device_agent.boot.environment import load, save
from device_agent.core.states import State
from device_agent.driver import Result
from device_agent.journal import Installed
from device_agent.lost_primary import RESTART
from device_agent.ports import Ports, Trusted
from device_agent.status import SLOT_TROUBLE
from device_agent.step import Agent, Stepped
from schemas.resolve import Running
from schemas.wire.descriptor import Descriptor
from schemas.wire.report import Event, EventKind, Outcome
from schemas.wire.types import ComponentRef, ComponentSet
from tests.crash.device import Counter, Restarted, ScenarioTrust, crashing_ports
from tests.crash.disk import Disk, Image
from tests.crash.harness import LOSSES, MAX_RESTARTS, Mode, scratch
from tests.crash.instants import CrashingJournal, Instants, watched
from tests.crash.sameness import Key, sameness
from tests.crash.scenarios import NEW_IMAGE, OLD_IMAGE, Fault, Scenario
from tests.crash.world import BEFORE_REBOOT, World
from tests.support.agent_fakes import FakeScripts
from tests.support.falling_through import start

LOST = ComponentSet({"os": ComponentRef("kiosk-os@1.5", "sha256:" + "2" * 64)})
BEFORE = Running(LOST.id, LOST)  # what was committed in slot b


class LosingWorld(World):
    """Slot `b` was committed, and its image is damaged: `a`, the older slot, runs in its place."""

    def make(self) -> None:
        super().make()
        variables = load(self.root)
        assert variables
        save(self.root, replace(variables, primary="b", running="a"))
        journal = self.journal()
        with journal._transaction():
            journal._store_running(BEFORE, "b")
        journal.close()

    def crash(self) -> None:
        """Break what breaks at the moment of the cut."""

    def restart(self) -> None:
        booted = start(self.root, self.loads)
        allowed = booted == "a" or self.journaled() not in BEFORE_REBOOT
        assert allowed, f"slot {booted} was started unasked"

    def loads(self, slot: str) -> bool:
        return self.slots[slot].read_bytes() in (OLD_IMAGE, NEW_IMAGE)


class LeavingWorld(LosingWorld):
    """Here the primary is whole: the trial of `a` was cancelled, and is still to be left."""

    def make(self) -> None:
        super().make()
        self.slots["b"].write_bytes(OLD_IMAGE)


class UpdatingWorld(LosingWorld):
    """Slot `a` is the primary, until a cut in the middle of an update takes it along."""

    def make(self) -> None:
        World.make(self)
        self.slots["b"].write_bytes(OLD_IMAGE)
        journal = self.journal()
        with journal._transaction():
            journal._store_running(BEFORE, "a")
        journal.close()

    def crash(self) -> None:
        self.slots["a"].write_bytes(b"worn" * 512)

    def restart(self) -> None:
        start(self.root, self.loads)


class Tree(ScenarioTrust):
    """Wants the scenario's set, or nothing at all, and knows its descriptors."""

    def refresh(self) -> Trusted:
        trusted = super().refresh()
        assert trusted.manifest
        if self._world.scenario.fault is Fault.SUPERSEDED:
            trusted = replace(trusted, manifest=None)
        return trusted

    def descriptor(self, ref: ComponentRef) -> Descriptor:
        known = {part.ref: part.descriptor for part in self._world.scenario.components}
        return known[ref]


class CountingButton:
    """Restarts; counts the restarts that no deployment asked for."""

    def __init__(self, world: World, instants: Instants) -> None:
        self._world, self._instants = world, instants

    def reboot(self) -> None:
        self._instants.here()
        if self._world.journaled() is State.IDLE:
            Counter(self._world.root / "restarts").next()
        self._instants.sync_all()
        raise Restarted


Check = Callable[[World, tuple[State, ...]], None]


@dataclass
class Explored:
    mode: Mode
    check: Check
    instants: int = 0
    runs: int = 0
    known: set[tuple[int, Key]] = field(default_factory=set)


def every_cut(
    kind: type[LosingWorld], scenario: Scenario, mode: Mode, check: Check, *, crashes: int
) -> Explored:
    """Cut up to `crashes` times, everywhere; check every end."""
    explored = Explored(mode, check)
    with scratch() as root:
        world = kind(root / "device", scenario)
        world.root.mkdir()
        world.make()
        _explore(world, explored, crashes, ())
    return explored


def _explore(
    world: LosingWorld, explored: Explored, crashes: int, crashed_in: tuple[State, ...]
) -> None:
    instants = Instants(Disk(world.root), LOSSES[explored.mode]) if crashes else Instants()
    try:
        _come_to_rest(world, instants, explored.mode)
    finally:
        instants.close()
    explored.check(world, crashed_in)
    explored.runs += 1
    explored.instants += instants.passed if crashes else 0
    for number, image in enumerate(instants.images):
        _crash(world, image, number, explored, crashes - 1, crashed_in)


def _crash(
    world: LosingWorld,
    image: Image,
    number: int,
    explored: Explored,
    crashes: int,
    crashed_in: tuple[State, ...],
) -> None:
    crashed = type(world)(world.root.with_name(f"{world.root.name}-{number}"), world.scenario)
    image.write_to(crashed.root)
    crashed.crash()
    if not (crashed.loads("a") or crashed.loads("b")):
        shutil.rmtree(crashed.root)
        return  # nothing is left that could start
    if explored.mode is Mode.POWER_CUT:
        crashed.restart()
    states = (*crashed_in, crashed.journaled())
    key = (crashes, (frozenset(states), *sameness(crashed)))
    if key not in explored.known:
        explored.known.add(key)
        _explore(crashed, explored, crashes, states)
    shutil.rmtree(crashed.root)


def _come_to_rest(world: World, instants: Instants, mode: Mode) -> None:
    for _ in range(MAX_RESTARTS):
        with watched(instants):
            try:
                stepped = _poll(world, instants)
            except Restarted:
                stepped = None
        if stepped == Stepped(Result.IDLE, worked=False):
            return
        if stepped is None:
            with watched(instants if mode is Mode.POWER_CUT else Instants()):
                world.restart()
    raise AssertionError("the device never came to rest")


def _poll(world: World, instants: Instants) -> Stepped:
    journal = CrashingJournal(world.root / "journal.db", id=secrets.token_hex(16))
    journal.instants = instants
    try:
        return Agent(journal, _ports(world, instants), None, 3600.0, "agent/1").poll()
    finally:
        journal.close()
        instants.journal_synced()


def _ports(world: World, instants: Instants) -> Ports:
    return replace(
        crashing_ports(world, instants),
        trust=Tree(world, instants),
        machine=CountingButton(world, instants),
        scripts=FakeScripts(),
    )


def adopted_and_updated(world: World, crashed_in: tuple[State, ...]) -> None:
    """Raise AssertionError unless the device stands on its primary, says why, and is updated."""
    told, ends = _said(world)
    assert len(told) == 1 and "does not start" in (told[0].message or ""), "told once"
    primary, installed = _at_rest(world), _installed(world)
    if primary == "b":
        assert world.slots["b"].read_bytes() == NEW_IMAGE
        assert installed.running.content == world.scenario.record().content
    else:
        assert installed.slot != primary, "the set of the lost slot is said to run"
    wanted = world.scenario.fault is Fault.NONE
    if wanted and not {State.INSTALL, State.REBOOT}.intersection(crashed_in):
        assert primary == "b", f"a crash in {crashed_in} cost the update"
    assert len(ends) == wanted


def back_on_the_primary(world: World, crashed_in: tuple[State, ...]) -> None:
    """Raise AssertionError unless the device went back, and nothing was adopted."""
    assert set(crashed_in) <= {State.IDLE}
    assert _at_rest(world) == "b"
    assert _said(world) == ([], [])
    assert _installed(world).running == BEFORE


def whole_after_a_loss(world: World, crashed_in: tuple[State, ...]) -> None:
    """Raise AssertionError unless the device is at rest on its primary and says what it runs.

    Where the deployment had everything but the start of its slot before it, nobody can tell an
    image that was taken because nothing else starts from one that failed: that costs the update.
    """
    primary, installed = _at_rest(world), _installed(world)
    told, ends = _said(world)
    if ends[-1].outcome is Outcome.OK:
        assert installed == Installed(_wanted(world), primary), "said to run, and does not"
        assert world.slots[primary].read_bytes() == NEW_IMAGE, "not what is said to run"
        return
    lossy = {State.INSTALL, State.REBOOT_WAIT, State.REBOOT}
    assert lossy.intersection(crashed_in), f"a loss in {crashed_in} cost the update"
    assert primary == "b" != installed.slot, "what runs is not known"
    assert len(told) == 1


def _wanted(world: World) -> Running:
    record = world.scenario.record()
    return Running(record.set, record.content)


def _at_rest(world: World) -> str:
    """Return the primary, which runs. One restart was enough, and nothing is left of it."""
    facts, journal = world.facts, world.journal()
    notes = journal.recall(RESTART), journal.recall(SLOT_TROUBLE)
    journal.close()
    assert (facts.running, facts.trial) == (facts.primary, None)
    assert notes == (None, None), "it still looks for its primary"
    counter = world.root / "restarts"
    assert not counter.exists() or counter.stat().st_size == 1, "one restart shows it"
    return facts.primary


def _installed(world: World) -> Installed:
    journal = world.journal()
    installed = journal.installed()
    journal.close()
    assert installed
    return installed


def _said(world: World) -> tuple[list[Event], list[Event]]:
    """Return what was reported of the slots, and of the ends of deployments."""
    journal = world.journal()
    events = journal.batch(room=1 << 20).events
    journal.close()
    told = [event for event in events if event.kind is EventKind.REFUSED]
    return told, [event for event in events if event.kind is EventKind.FINISHED]
