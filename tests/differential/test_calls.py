"""The same calls of module and state scripts in the same order, with the same end."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.differential.known import DOUBT, EARLY, UNBEGUN, Known, differences, other_scripts
from tests.support.differential import Step, both
from tests.support.differential_artifacts import (
    Recipe,
    artifact_scripts,
    by_fleetcd,
    by_mender_artifact,
)
from tests.support.differential_modules import Plan

pytestmark = pytest.mark.ci

FAILING = (
    Plan(failing=("Download",)),
    Plan(failing=("ArtifactInstall",)),
    Plan(failing=("NeedsArtifactReboot",)),
    Plan(failing=("ArtifactCommit",)),
    Plan(failing=("ArtifactRollback",)),
    Plan(failing=("ArtifactInstall", "ArtifactRollback")),
    Plan(failing=("ArtifactInstall", "ArtifactFailure")),
    Plan(failing=("ArtifactInstall", "Cleanup")),
    Plan("No", failing=("Download",)),
    Plan("No", failing=("ArtifactInstall",)),
    Plan("No", failing=("NeedsArtifactReboot",)),
    Plan("No", failing=("ArtifactCommit",)),
    Plan("No", failing=("ArtifactInstall", "ArtifactFailure")),
)
SCRIPTS = tuple(
    f"Artifact{state}_{action}_00"
    for state in ("Install", "Commit", "Rollback", "Failure")
    for action in ("Enter", "Leave", "Error")
)
FORWARD = ("ArtifactInstall", "ArtifactCommit")
OTHER_SCRIPTS = (
    "ArtifactCommit_Leave_00",
    "ArtifactRollback_Enter_00",
    "ArtifactRollback_Leave_00",
    "ArtifactFailure_Enter_00",
    "ArtifactFailure_Leave_00",
)
DOUBTFUL = ("ArtifactRollback_Leave_00", "ArtifactFailure_Enter_00")


def artifact(place: Path, failing: str = "", module: str = "recorder") -> Path:
    (place / "content").write_bytes(b"content")
    scripts = artifact_scripts(place / "scripts", place / "device", failing)
    output = place / "app-2.mender"
    by_mender_artifact(Recipe(module, (place / "content",), scripts=scripts), "none", output)
    return output


def outcome(place: Path, path: Path, plan: Plan, *known: Known, image: str = "") -> Sequence[Step]:
    """Install and commit, install and roll back, on both devices; expect the same of both."""
    commands = (("install", path), ("commit",), ("install", path), ("rollback",))
    theirs, ours = both(place, plan)
    for device in (theirs, ours):
        device.add_image_scripts(image)
    expected = theirs.steps(commands)
    assert not differences(expected, ours.steps(commands), known)
    return expected


@pytest.mark.parametrize("reboot", ["No", "Yes", "Automatic", "", "Perhaps"])
@pytest.mark.parametrize("rollback", ["Yes", "No"])
def test_each_answer_leads_to_the_same_calls(tmp_path: Path, rollback: str, reboot: str) -> None:
    steps = outcome(tmp_path, artifact(tmp_path), Plan(rollback, reboot))
    assert steps[0].status == int(reboot == "Perhaps")


def test_no_answer_to_supports_rollback_means_no(tmp_path: Path) -> None:
    steps = outcome(tmp_path, artifact(tmp_path), Plan(rollback=""))
    assert "recorder ArtifactCommit" in steps[0].calls


def test_another_answer_to_supports_rollback_fails(tmp_path: Path) -> None:
    steps = outcome(tmp_path, artifact(tmp_path), Plan(rollback="Perhaps"), EARLY)
    assert steps[0].status == 1


@pytest.mark.parametrize("plan", FAILING, ids=lambda plan: f"{plan.rollback} {plan.failing}")
def test_each_failing_call_leads_to_the_same_calls(tmp_path: Path, plan: Plan) -> None:
    steps = outcome(tmp_path, artifact(tmp_path), plan)
    called = {call for step in steps for call in step.calls}
    assert {f"recorder {call}" for call in plan.failing} <= called


@pytest.mark.parametrize("failing", SCRIPTS)
def test_each_failing_script_of_an_artifact_leads_to_the_same_calls(
    tmp_path: Path, failing: str
) -> None:
    fails = () if failing.startswith(FORWARD) else ("ArtifactInstall",)
    known = [other_scripts(failing)] if failing in OTHER_SCRIPTS else []
    known += [DOUBT] if failing in DOUBTFUL else []
    outcome(tmp_path, artifact(tmp_path, failing), Plan(failing=fails), *known)


@pytest.mark.parametrize("failing", ["Download_Enter_00", "Download_Leave_00"])
def test_a_failing_script_of_the_device_leads_to_the_same_calls(
    tmp_path: Path, failing: str
) -> None:
    steps = outcome(tmp_path, artifact(tmp_path), Plan(), UNBEGUN, image=failing)
    assert steps[0].status == 1


def test_a_module_that_streams_reads_the_same(tmp_path: Path) -> None:
    for name in ("one", "two", "empty"):
        (tmp_path / name).write_bytes(name.encode() * 100_000 if name != "empty" else b"")
    path = tmp_path / "app-2.mender"
    files = tuple(tmp_path / name for name in ("one", "two", "empty"))
    by_fleetcd(Recipe("streaming", files), "gzip", path)
    installed, *_ = outcome(tmp_path, path, Plan())
    assert installed.target["two"][1] == b"two" * 100_000
    assert installed.status == 0
