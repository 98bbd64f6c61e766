"""Whatever the instant the power fails, the device ends whole and tells the truth about it once."""

from dataclasses import replace

import pytest

from device_agent.core.states import State
from tests.crash.device import MODULE, ROOTFS, SECOND, Fault, Scenario
from tests.crash.harness import Mode, Run, assert_whole_and_honest, explore, new_device, scratch

AB = Scenario((ROOTFS,))
ONE = Scenario((MODULE,), faulty="app")
BOTH = Scenario((ROOTFS, MODULE))
SCENARIOS = {
    "good": AB,
    "unhealthy": replace(AB, fault=Fault.HEALTH),
    "install-fails": replace(AB, fault=Fault.INSTALL),
    "does-not-boot": replace(AB, fault=Fault.BOOT),
    "commit-fails": replace(AB, fault=Fault.COMMIT),
    "commit-fails-late": replace(AB, fault=Fault.LATE_COMMIT),
    "stopped-while-waiting": replace(AB, fault=Fault.STOP),
    "superseded-before-reboot": replace(AB, fault=Fault.SUPERSEDED),
    "module": ONE,
    "module-install-fails": replace(ONE, fault=Fault.INSTALL),
    "module-unhealthy": replace(ONE, fault=Fault.HEALTH),
    "module-commit-fails": replace(ONE, fault=Fault.COMMIT),
    "two-modules": Scenario((MODULE, SECOND)),
    "second-module-install-fails": Scenario((MODULE, SECOND), Fault.INSTALL, "cfg"),
    "second-module-commit-fails": Scenario((MODULE, SECOND), Fault.COMMIT, "cfg"),
    "rootfs-and-module": BOTH,
    "rootfs-and-module-unhealthy": replace(BOTH, fault=Fault.HEALTH),
    "rootfs-and-module-install-fails": replace(BOTH, fault=Fault.INSTALL, faulty="app"),
}

# A crash in these states must not cost a good update. In the others going back is the safe answer:
# nobody knows how far an ArtifactInstall or a module's ArtifactCommit came, and a cut between the
# journal's REBOOT and the activation looks as a slot that did not start does.
RESUMED = set(State) - {State.INSTALL, State.MODULES}
HARMLESS = {Mode.POWER_CUT: RESUMED - {State.REBOOT}, Mode.PROCESS_KILL: RESUMED}
WITHOUT_SLOT = RESUMED - {State.COMMIT}


def harmless(scenario: Scenario, mode: Mode) -> set[State]:
    return HARMLESS[mode] & (RESUMED if scenario.record().slot else WITHOUT_SLOT)


def check(run: Run, mode: Mode) -> None:
    installed = assert_whole_and_honest(run)
    scenario = run.world.scenario
    if not scenario.ends_well:
        assert not installed, "a bad update was kept"
    elif harmless(scenario, mode).issuperset(run.crashed_in):
        assert installed, f"a crash in {run.crashed_in} cost the update"


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", SCENARIOS)
def test_one_crash_at_every_instant_leaves_the_device_whole_and_honest(
    name: str, mode: Mode
) -> None:
    runs = 0
    with scratch() as root:
        world = new_device(root / "device", SCENARIOS[name])
        for run in explore(world, mode, crashes=1):
            check(run, mode)
            runs += 1
    assert runs > 20, "hardly any instant was found"


PAIRS = [
    ("good", Mode.POWER_CUT),
    ("unhealthy", Mode.POWER_CUT),
    ("does-not-boot", Mode.POWER_CUT),
    ("commit-fails-late", Mode.POWER_CUT),
    ("module", Mode.POWER_CUT),
    ("second-module-commit-fails", Mode.PROCESS_KILL),
    ("rootfs-and-module", Mode.POWER_CUT),
    ("rootfs-and-module", Mode.PROCESS_KILL),
]


@pytest.mark.ci
@pytest.mark.parametrize(("name", "mode"), PAIRS)
def test_two_crashes_at_every_pair_of_instants_leave_the_device_whole_and_honest(
    name: str, mode: Mode
) -> None:
    with scratch() as root:
        world = new_device(root / "device", SCENARIOS[name])
        for run in explore(world, mode, crashes=2):
            assert_whole_and_honest(run)
