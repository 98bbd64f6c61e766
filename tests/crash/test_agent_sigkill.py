"""A real SIGKILL in every state: what the images of tests/crash/ stand for."""

import os
import secrets
import signal
import traceback
from pathlib import Path

import pytest

from device_agent import driver
from device_agent.core.states import State
from tests.crash.device import crashing_ports
from tests.crash.harness import Mode, Run, new_device, scratch, settle
from tests.crash.instants import CrashingJournal, Instants
from tests.crash.invariants import assert_whole_and_honest, check
from tests.crash.scenarios import SCENARIOS
from tests.crash.world import World

RESTART, BROKEN = 100, 102
GOOD = [
    State.DOWNLOAD,
    State.INSTALL_WAIT,
    State.INSTALL,
    State.REBOOT_WAIT,
    State.REBOOT,
    State.VERIFY_REBOOT,
    State.MODULES_DOWNLOAD,
    State.MODULES,
    State.HEALTH,
    State.COMMIT,
    State.FINISH,
    State.CLEANUP,
]
BAD = [State.ROLLBACK, State.ROLLBACK_REBOOT, State.VERIFY_ROLLBACK, State.FAILURE]


class Deadly(Instants):
    """Kills this process at the second instant in `state`, once in a device's life."""

    def __init__(self, world: World, state: State) -> None:
        super().__init__()
        self._world, self._state, self._seen = world, state, 0
        self._done = world.root / "killed"

    def here(self) -> None:
        if self._done.exists():
            return
        journal = self._world.journal()
        record = journal.record()
        journal.close()
        self._seen += record is not None and record.state is self._state
        if self._seen == 2:
            self._done.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def run_once(world: World, state: State) -> int:
    """Run the agent in a process of its own; return its status, minus a signal's number."""
    child = os.fork()
    if child == 0:
        status = BROKEN
        try:
            journal = CrashingJournal(world.root / "journal.db", id=secrets.token_hex(16))
            journal.instants = Deadly(world, state)
            driver.run(journal, crashing_ports(world, journal.instants))
            status = 0
        except BaseException as error:
            (world.root / "trace").write_text(traceback.format_exc())
            status = RESTART if type(error).__name__ == "Restarted" else BROKEN
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_in(root: Path, scenario: str, state: State) -> Run:
    world = new_device(root / "device", SCENARIOS[scenario])
    for _ in range(5):
        status = run_once(world, state)
        if status == RESTART:
            world.restart()
            continue
        assert status == -signal.SIGKILL, (world.root / "trace").read_text()
        (world.root / "killed").unlink()
        return settle(world, Instants(), Mode.PROCESS_KILL, (state,))
    raise AssertionError(f"{state} was never reached")


@pytest.mark.parametrize("state", GOOD)
def test_an_agent_killed_in_a_state_of_an_update_ends_whole(state: State) -> None:
    with scratch() as root:
        check(kill_in(root, "rootfs-and-module", state), Mode.PROCESS_KILL)


@pytest.mark.parametrize("state", BAD)
def test_an_agent_killed_on_its_way_back_ends_whole(state: State) -> None:
    with scratch() as root:
        run = kill_in(root, "rootfs-and-module-unhealthy", state)
        assert not assert_whole_and_honest(run)
