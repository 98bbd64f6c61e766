"""State scripts of an update by hand: which run, in which order, and what their failures do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.standalone_device import ByHand, StandaloneDevice

SCRIPTS = {
    "Download_Enter_01": 0,
    "Download_Leave_01": 0,
    "Download_Error_01": 0,
    "ArtifactInstall_Enter_01": 0,
    "ArtifactInstall_Leave_01": 0,
    "ArtifactInstall_Error_01": 1,
    "ArtifactInstall_Error_02": 0,
    "ArtifactReboot_Enter_01": 0,
    "ArtifactCommit_Enter_01": 0,
    "ArtifactCommit_Leave_01": 0,
    "ArtifactCommit_Error_01": 0,
    "ArtifactRollback_Enter_01": 0,
    "ArtifactRollback_Leave_01": 0,
    "ArtifactFailure_Enter_01": 0,
    "ArtifactFailure_Leave_01": 0,
}
DOWNLOAD = ["Download_Enter_01", "ProvidePayloadFileSizes", "Download", "Download_Leave_01"]
INSTALL = [*DOWNLOAD, "ArtifactInstall_Enter_01", "ArtifactInstall", "ArtifactInstall_Leave_01"]
COMMIT = [*INSTALL, "ArtifactCommit_Enter_01", "ArtifactCommit"]
INSTALL_ERRORS = ["ArtifactInstall_Error_01", "ArtifactInstall_Error_02"]
FAILURE = ["ArtifactFailure_Enter_01", "ArtifactFailure", "ArtifactFailure_Leave_01", "Cleanup"]
ROLLBACK = ["ArtifactRollback_Enter_01", "ArtifactRollback", "ArtifactRollback_Leave_01", *FAILURE]


@dataclass(frozen=True)
class Row:
    """`exits` are the scripts that end otherwise, `codes` the exit codes of the commands."""

    calls: list[str]
    codes: list[int]
    exits: Mapping[str, int] = field(default_factory=dict)
    fails: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    name: str = "new"


ROWS = {
    "all of them": Row([*COMMIT, "ArtifactCommit_Leave_01", "Cleanup"], [0]),
    "Download_Enter fails": Row(
        ["Download_Enter_01", "Download_Error_01", "Cleanup"],
        [1],
        {"Download_Enter_01": 1},
        name="old",
    ),
    "Download fails": Row(
        [*DOWNLOAD[:3], "Download_Error_01", "Cleanup"], [1], fails=("Download",), name="old"
    ),
    "Download_Leave fails, and an Error script": Row(
        [*DOWNLOAD, "Download_Error_01", "Download_Error_02", "Cleanup"],
        [1],
        {"Download_Leave_01": 1, "Download_Error_01": 1, "Download_Error_02": 0},
        name="old",
    ),
    "ArtifactInstall_Enter fails, and the next one does not run": Row(
        [*DOWNLOAD, "ArtifactInstall_Enter_01", *INSTALL_ERRORS, *FAILURE],
        [1],
        {"ArtifactInstall_Enter_01": 1, "ArtifactInstall_Enter_02": 0},
        name="new_INCONSISTENT",
    ),
    "ArtifactInstall fails": Row(
        [*INSTALL[:-1], *INSTALL_ERRORS, *FAILURE],
        [1],
        fails=("ArtifactInstall",),
        name="new_INCONSISTENT",
    ),
    "ArtifactInstall_Leave fails": Row(
        [*INSTALL, *INSTALL_ERRORS, *FAILURE],
        [1],
        {"ArtifactInstall_Leave_01": 1},
        name="new_INCONSISTENT",
    ),
    "ArtifactCommit_Enter fails": Row(
        [*COMMIT[:-1], "ArtifactCommit_Error_01", *FAILURE],
        [1],
        {"ArtifactCommit_Enter_01": 1},
        name="new_INCONSISTENT",
    ),
    "ArtifactCommit fails": Row(
        [*COMMIT, "ArtifactCommit_Error_01", *FAILURE],
        [1],
        fails=("ArtifactCommit",),
        name="new_INCONSISTENT",
    ),
    "ArtifactCommit_Leave fails, after the commit, and the others run": Row(
        [*COMMIT, "ArtifactCommit_Leave_01", "ArtifactCommit_Leave_02", "Cleanup"],
        [1],
        {"ArtifactCommit_Leave_01": 1, "ArtifactCommit_Leave_02": 0},
        name="new_INCONSISTENT",
    ),
    "ArtifactFailure_Enter fails twice, and all goes on": Row(
        [
            *(*COMMIT[:-1], "ArtifactCommit_Error_01", "ArtifactFailure_Enter_01"),
            *("ArtifactFailure_Enter_02", *FAILURE[1:]),
        ],
        [1],
        {
            "ArtifactCommit_Enter_01": 1,
            "ArtifactFailure_Enter_01": 1,
            "ArtifactFailure_Enter_02": 1,
        },
        name="new_INCONSISTENT",
    ),
    "rolled back by hand": Row([*INSTALL, *ROLLBACK], [0, 0], then=("rollback",), name="old"),
    "ArtifactRollback_Enter fails, which leaves doubt": Row(
        [*INSTALL, *ROLLBACK],
        [0, 1],
        {"ArtifactRollback_Enter_01": 1},
        then=("rollback",),
        name="new_INCONSISTENT",
    ),
    "ArtifactRollback_Leave fails, which leaves none": Row(
        [*INSTALL, *ROLLBACK],
        [0, 1],
        {"ArtifactRollback_Leave_01": 1},
        then=("rollback",),
        name="old",
    ),
    "ArtifactFailure_Leave fails, which leaves none": Row(
        [*INSTALL, *ROLLBACK],
        [0, 1],
        {"ArtifactFailure_Leave_01": 1},
        then=("rollback",),
        name="old",
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_scripts_run_around_the_calls(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = StandaloneDevice(tmp_path, monkeypatch)
    device.has("old")
    device.fails(*row.fails)
    if row.then:
        device.can_roll_back()
    scripts = {**SCRIPTS, **row.exits}
    of_artifact = {name: status for name, status in scripts.items() if name.startswith("Artifact")}
    for name, status in scripts.items():
        if name not in of_artifact:
            device.image_script(name, status)
    codes = [device.run("install", device.artifact(ByHand(bodies=of_artifact)))]
    codes += [device.run(command) for command in row.then]
    assert device.calls == row.calls
    assert codes == row.codes
    assert device.provides["artifact_name"] == row.name


def test_scripts_of_an_earlier_artifact_do_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = StandaloneDevice(tmp_path, monkeypatch)
    device.run("install", device.artifact(ByHand(bodies={"ArtifactInstall_Enter_00": 0})))
    assert device.calls.count("ArtifactInstall_Enter_00") == 1
    assert device.run("install", device.artifact()) == 0
    assert device.calls.count("ArtifactInstall_Enter_00") == 1
