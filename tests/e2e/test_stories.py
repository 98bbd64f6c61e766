"""What fleetcd promises, told by real Git, real HTTPS and real processes on one shared stack.

The stories run in this order; each leaves every device on one version, which is stable.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.demo.stack import Stack, wait_until
from schemas.wire.status import Phase
from tests.e2e.fleet import PATIENCE, Fleet

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with Stack(tmp_path_factory.mktemp("stories") / "stack", devices=4) as stack:
        fleet = Fleet(stack)
        fleet.begin()
        yield fleet


@pytest.fixture(autouse=True)
def everybody_has_power(fleet: Fleet) -> None:
    fleet.power_on(*fleet.stack.devices)


def test_a_good_commit_reaches_every_device(fleet: Fleet) -> None:
    version = fleet.ship()
    fleet.wait_all_run(version)
    fleet.wait_phase(Phase.COMPLETED)
    assert [opened.stage for opened in fleet.rollout.exposure] == ["canary", "all"]
    assert fleet.rollout.exposure[0].size == 2


def test_a_bad_canary_stops_the_rollout_and_is_undone(fleet: Fleet) -> None:
    before = fleet.versions()
    version = fleet.ship(health="bad")
    fleet.wait_phase(Phase.ROLLED_BACK)
    wait_until(lambda: fleet.versions() == before, PATIENCE, "the canaries are back")
    canaries = {device.name for device in fleet.by_order()[:2]}
    assert fleet.stack.ever_held(version) <= canaries
    assert "healthcheck" in fleet.status.ledger[-1].reason
    assert [opened.stage for opened in fleet.rollout.exposure] == ["canary"]
    fleet.stack.revert()
    wait_until(lambda: bool(fleet.status.ledger[-1].closed), PATIENCE, "Git asks for it no more")
    assert fleet.versions() == before


def test_a_revert_brings_the_old_release_back(fleet: Fleet) -> None:
    (old,) = fleet.versions()
    version = fleet.ship()
    fleet.wait_all_run(version)
    fleet.wait_phase(Phase.COMPLETED)
    fleet.stack.revert()
    fleet.wait_all_run(str(old))
    fleet.wait_phase(Phase.COMPLETED)


def test_a_commit_that_does_not_parse_changes_nothing_and_names_the_line(fleet: Fleet) -> None:
    (running,) = fleet.versions()
    before = dict(fleet.stack.view.statuses())
    file = fleet.stack.made.clone / "fleets" / "kiosks.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "  policy: demo\n", encoding="utf-8")
    line = len(file.read_text(encoding="utf-8").splitlines())
    fleet.stack.commit("Say it twice")

    def commit_condition() -> str:
        conditions = {c.type: c for c in fleet.stack.view.conditions()}
        return conditions["CommitValid"].message if not conditions["CommitValid"].status else ""

    wait_until(lambda: bool(commit_condition()), PATIENCE, "the commit is refused")
    assert f"fleets/kiosks.yaml:{line}:3: E_DUP" in commit_condition()
    assert dict(fleet.stack.view.statuses()) == before
    assert fleet.versions() == {running}
    fleet.stack.revert()
    wait_until(lambda: not commit_condition(), PATIENCE, "the revert is accepted")


def test_devices_converge_while_reconciler_and_gateway_are_down(fleet: Fleet) -> None:
    fleet.power_off(*fleet.stack.devices)
    version = fleet.ship()
    canaries = fleet.by_order()[:2]
    with fleet.only_the_tree():
        fleet.power_on(*fleet.stack.devices)
        wait_until(
            lambda: all(canary.running_version() == version for canary in canaries),
            PATIENCE,
            "the canaries run the new version",
        )
    fleet.wait_all_run(version)
    fleet.wait_phase(Phase.COMPLETED)
    assert fleet.rollout.exposure[0].counts.ok == 2, "each of their reports was counted once"

    def told() -> list[tuple[object, ...]]:
        return fleet.rows(
            "SELECT key, COUNT(*) FROM events WHERE rollout = ? AND outcome = 'ok' GROUP BY key",
            fleet.rollout.id,
        )

    wait_until(lambda: len(told()) == 4, PATIENCE, "every device has reported")
    assert [count for _, count in told()] == [1, 1, 1, 1], "each report arrived once"


def test_a_device_does_not_try_again_what_failed_while_the_reconciler_is_down(
    fleet: Fleet,
) -> None:
    before = fleet.versions()
    fleet.power_off(*fleet.stack.devices)
    fleet.ship(health="bad")
    canary = fleet.by_order()[0]

    def attempts() -> int:
        return fleet.log(canary).count("download: set " + fleet.rollout.set)

    def polls() -> int:
        return fleet.log(canary).count("failed here at attempt")

    with fleet.only_the_tree():
        fleet.power_on(*fleet.stack.devices)
        wait_until(lambda: polls() >= 1, PATIENCE, "the canary has failed and polled again")
        assert attempts() == 1
        fleet.power_off(canary)
        fleet.power_on(canary)
        wait_until(lambda: polls() >= 2, PATIENCE, "it has polled after a power cut, too")
        assert attempts() == 1
    fleet.wait_phase(Phase.ROLLED_BACK)
    assert fleet.versions() == before
    fleet.stack.revert()
    wait_until(lambda: bool(fleet.status.ledger[-1].closed), PATIENCE, "Git asks for it no more")


def test_a_device_that_was_offline_does_not_get_the_halted_release(fleet: Fleet) -> None:
    before = fleet.versions()
    fleet.power_off(*fleet.stack.devices)
    version = fleet.ship(health="bad")
    first, late = fleet.by_order()[:2]
    fleet.power_on(first)
    fleet.wait_phase(Phase.ROLLED_BACK)
    polled = fleet.log(late).count("already runs")
    fleet.power_on(late)
    wait_until(
        lambda: fleet.log(late).count("already runs") > polled, PATIENCE, "the late canary polls"
    )
    assert version not in late.held_versions()
    assert fleet.versions() == before
    fleet.stack.revert()
    wait_until(lambda: bool(fleet.status.ledger[-1].closed), PATIENCE, "Git asks for it no more")


def test_a_second_reconciler_on_the_same_tree_refuses(fleet: Fleet) -> None:
    config: Path = fleet.stack.made.config
    second = subprocess.run(
        [sys.executable, "-m", "reconciler", "run", "reconciler", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 2
    assert "writes this tree; stop it first" in second.stderr
