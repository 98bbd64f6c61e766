"""The real reconciler, killed with SIGKILL at every named step of a publish, loses no stage."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from reconciler.adapters.tuf_tree import PUBLISH_STEPS
from reconciler.demo.stack import Stack, git
from schemas.wire.status import Phase
from tests.e2e.fleet import PATIENCE, Fleet

pytestmark = pytest.mark.e2e

# The assignments role is signed anew only when it nears its expiry, never by a rollout; a process
# killed there is in tests/crash/test_publish_sigkill.py.
REACHED = [step for step in PUBLISH_STEPS if step != "assignments"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Stack(tmp_path_factory.mktemp("killed") / "stack", devices=4) as stack:
        fleet = Fleet(stack)
        fleet.begin()
        yield fleet


@pytest.mark.parametrize("step", REACHED)
def test_a_reconciler_killed_while_it_publishes_neither_loses_nor_repeats_a_stage(
    fleet: Fleet, step: str
) -> None:
    fleet.stack.stop_reconciler()
    made = fleet.stack.made
    launcher = [sys.executable, "-m", "tests.e2e.reconciler_that_dies", step, str(made.config)]
    before = git(made.clone, "rev-parse", "HEAD")
    doomed = subprocess.Popen([*launcher, before], stderr=subprocess.DEVNULL)
    version = fleet.push()
    assert doomed.wait(PATIENCE) == -signal.SIGKILL
    fleet.stack.start_reconciler()
    fleet.wait_rollout_of(version)
    fleet.wait_all_run(version)
    fleet.wait_phase(Phase.COMPLETED)
    decided = [
        (decision.kind, decision.stage)
        for decision in fleet.status.decisions
        if decision.rollout == fleet.rollout.id
    ]
    assert decided == [
        ("start", None),
        ("open stage", "canary"),
        ("pass stage", "canary"),
        ("open stage", "all"),
        ("pass stage", "all"),
        ("complete", None),
    ]
