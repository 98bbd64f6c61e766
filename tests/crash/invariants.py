"""What holds after every run, whatever was cut off: the device is whole, and it tells the truth."""

from device_agent.artifact.provides import NAME
from device_agent.core.component import Component, RebootNeed
from device_agent.core.record import INCONSISTENT
from device_agent.core.states import State
from schemas.wire.descriptor import Scope
from schemas.wire.report import Event, Outcome
from tests.crash.harness import Mode, Run
from tests.crash.scenarios import (
    NEW_FILE,
    NEW_IMAGE,
    NEW_PROVIDES,
    OLD_FILE,
    OLD_IMAGE,
    OLD_PROVIDES,
    Scenario,
)
from tests.crash.world import World

# A crash in these states must not cost a good update. In the others going back is the safe answer:
# nobody knows how far an ArtifactInstall or a module's ArtifactCommit came, and a cut between the
# journal's REBOOT and the activation looks as a slot that did not start does.
RESUMED = frozenset(State) - {State.INSTALL, State.MODULES}


def harmless(scenario: Scenario, mode: Mode) -> frozenset[State]:
    """Return the states in which a crash must not cost the update."""
    states = RESUMED
    if scenario.record().slot is None:
        states -= {State.COMMIT}
    elif mode is Mode.POWER_CUT:
        states -= {State.REBOOT}
    if scenario.restart is RebootNeed.MODULE:
        states -= {State.REBOOT, State.VERIFY_REBOOT, State.HEALTH}
    elif scenario.restart is RebootNeed.AGENT:
        states -= {State.VERIFY_REBOOT, State.HEALTH}
    return states


def check(run: Run, mode: Mode) -> None:
    """Raise AssertionError unless the run ended as its scenario may end after its crashes."""
    installed = assert_whole_and_honest(run)
    scenario = run.world.scenario
    if not scenario.ends_well:
        assert not installed, "a bad update was kept"
    elif harmless(scenario, mode).issuperset(run.crashed_in):
        assert installed, f"a crash in {run.crashed_in} cost the update"
    if not run.crashed_in:
        assert run.world.committed() == scenario.kept_in_the_end, "not the scenario's end"


def assert_whole_and_honest(run: Run) -> bool:
    """Check what holds after every run. Return whether the update was installed."""
    world, facts = run.world, run.world.facts
    journal = world.journal()
    record, kept, failed = journal.record(), journal.installed() is not None, journal.failed()
    provides = dict(journal.provides())
    journal.close()
    assert record is None, f"still in {record.state}"
    assert len(run.finished) == 1, f"{len(run.finished)} last words"
    word, wanted = run.finished[0], world.scenario.record()

    assert (facts.running, facts.trial) == (facts.primary, None)
    image = NEW_IMAGE if facts.primary == "b" else OLD_IMAGE
    assert world.slots[facts.primary].read_bytes() == image, "the image is not whole"
    if wanted.slot is not None:
        assert kept == (facts.primary == "b"), "the journal and the bootloader disagree"
    for part in world.scenario.parts:
        if not part.is_rootfs:
            _assert_module_whole(world, part, word, kept)
    good = word.outcome is Outcome.OK
    assert not good or kept, "reported ok without the update"
    assert good or not kept or word.inconsistent, "kept, but not reported ok"
    assert good or word.message, "reported as failed, without a word why"
    assert (wanted.set in failed) == (word.outcome is Outcome.FAILED)
    wrongly = set(word.inconsistent) - world.scenario.doubtful
    assert not wrongly, f"{wrongly} is said to be inconsistent, and is not"
    assert provides == _provides(world.scenario, word, kept), "provides what it is not"
    _assert_clean(world)
    return good


def _assert_module_whole(world: World, part: Component, word: Event, kept: bool) -> None:
    old_slot = world.file(part, "a").read_bytes()
    if part.descriptor.scope is Scope.SLOT and world.scenario.record().slot is not None:
        assert old_slot == OLD_FILE, f"{part.name} was changed in the old slot"
        new_slot = world.file(part, "b").read_bytes()
        assert not kept or new_slot == NEW_FILE, f"{part.name} is not in the new slot"
    if part.name in word.inconsistent:
        return
    assert world.mark(part, "committed").exists() == kept, f"{part.name} was not told the end"
    if part.descriptor.scope is Scope.DATA or world.scenario.record().slot is None:
        assert old_slot == (NEW_FILE if kept else OLD_FILE), f"{part.name} is torn"
    restart = world.mark(part, "needs-restart")
    assert not restart.exists(), f"{part.name} waits for a restart that never comes"


def _provides(scenario: Scenario, word: Event, kept: bool) -> dict[str, str]:
    provides = dict(NEW_PROVIDES if kept and scenario.modules else OLD_PROVIDES)
    if any(part.module and part.name in word.inconsistent for part in scenario.parts):
        provides[NAME] = f"{NEW_PROVIDES[NAME]}{INCONSISTENT}"
    return provides


def _assert_clean(world: World) -> None:
    for part in world.scenario.parts:
        assert not world.tree(part).exists, f"{part.name} was not cleaned up"
    assert not list(world.kept_scripts.glob("*")), "an artifact's scripts were left behind"
    assert not (world.root / "rootfs-ab.json").exists(), "the download's marker was left behind"
    assert not list(world.root.rglob("reboot-need")), "an answer was left behind"
