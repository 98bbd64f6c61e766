"""kill -9 in every call and script of an update by hand, and the command that comes after it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agent.standalone import in_progress
from tests.support.standalone_device import ByHand, StandaloneDevice

IN_DOUBT = "System may be in an inconsistent state.\n"
UNSUPPORTED = f"Update Module does not support rollback. {IN_DOUBT}"


@dataclass(frozen=True)
class Cut:
    """Killed in `call` of the last of `before`; `then` is what the next command adds and says."""

    call: str
    before: list[str]
    calls: list[str]
    then: str = "resume"
    code: int = 0
    said: str = ""
    name: str = "old"
    rollback: bool = True
    fails: str = ""


UNDO = ["ArtifactRollback", "ArtifactFailure", "Cleanup"]
FORGET = ["ArtifactFailure", "Cleanup"]
INSTALL, COMMIT, ROLLBACK = ["install"], ["install", "commit"], ["install", "rollback"]
NOTHING = "No update in progress.\n"
ENTER, LEAVE = "ArtifactInstall_Enter_00", "ArtifactInstall_Leave_00"

CUTS = [
    Cut("Download_Enter_00", INSTALL, ["Cleanup"], code=2, said=NOTHING),
    Cut("ProvidePayloadFileSizes", INSTALL, ["Cleanup"], code=2, said=NOTHING),
    Cut("Download", INSTALL, ["Cleanup"], code=2, said=NOTHING),
    Cut("Download", INSTALL, ["Cleanup"], then="rollback", code=2, said=NOTHING),
    Cut(ENTER, INSTALL, UNDO, said="Rolled back.\n"),
    Cut("ArtifactInstall", INSTALL, UNDO, said="Rolled back.\n"),
    Cut("ArtifactInstall", INSTALL, UNDO, then="rollback", said="Rolled back.\n"),
    Cut("ArtifactInstall", INSTALL, [], then="commit", code=1, name="old"),
    Cut(
        *("ArtifactInstall", INSTALL, FORGET),
        code=1,
        said=UNSUPPORTED,
        name="new_INCONSISTENT",
        rollback=False,
    ),
    Cut(LEAVE, INSTALL, UNDO, said="Rolled back.\n"),
    Cut(
        *("NeedsArtifactReboot", INSTALL, ["ArtifactCommit", "ArtifactCommit_Leave_00", "Cleanup"]),
        said="Committed.\n",
        name="new",
    ),
    Cut("ArtifactCommit", COMMIT, UNDO, said="Rolled back.\n"),
    Cut(
        *("ArtifactCommit", COMMIT, UNDO),
        then="commit",
        code=1,
        said="Committing failed.\nRolled back.\n",
    ),
    Cut(
        *("ArtifactCommit", INSTALL, FORGET),
        code=1,
        said=UNSUPPORTED,
        name="new_INCONSISTENT",
        rollback=False,
    ),
    Cut(
        *("ArtifactCommit_Leave_00", COMMIT, ["ArtifactCommit_Leave_00", "Cleanup"]),
        said="Cleaned up.\n",
        name="new",
    ),
    Cut("ArtifactCommit_Leave_00", COMMIT, [], then="rollback", code=1),
    Cut("ArtifactRollback", ROLLBACK, UNDO, said="Rolled back.\n"),
    Cut("ArtifactRollback", ROLLBACK, UNDO, then="rollback", said="Rolled back.\n"),
    Cut("ArtifactFailure", ROLLBACK, FORGET, said="Rolled back.\n"),
    Cut(
        *("ArtifactRollback", INSTALL, UNDO),
        code=1,
        said="Rolled back.\n",
        fails="ArtifactInstall",
    ),
    Cut(
        *("ArtifactFailure", INSTALL, FORGET),
        code=1,
        name="new_INCONSISTENT",
        rollback=False,
        fails="ArtifactInstall",
    ),
    Cut("Cleanup", COMMIT, ["Cleanup"], said="Cleaned up.\n", name="new"),
    Cut("Cleanup", ROLLBACK, ["Cleanup"], said="Rolled back.\n"),
]


@pytest.mark.parametrize(
    "cut", CUTS, ids=[f"{cut.call}-{cut.then}-{'-'.join(cut.before)}" for cut in CUTS]
)
def test_killed_and_gone_on(
    cut: Cut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = StandaloneDevice(tmp_path, monkeypatch)
    device.has("old")
    if cut.rollback:
        device.can_roll_back()
    if cut.fails:
        device.fails(cut.fails)
    device.image_script("Download_Enter_00")
    bodies = dict.fromkeys((ENTER, LEAVE, "ArtifactCommit_Leave_00"), 0)
    artifact = device.artifact(ByHand(bodies=bodies))
    words = [[each, artifact] if each == "install" else [each] for each in cut.before]
    for each in words[:-1]:
        assert device.run(*each) == 0
    device.kills(cut.call)
    assert device.killed(*words[-1])
    before = device.calls
    if in_progress(device.journal):
        assert device.run("install", artifact) == 1, "whatever it was, it has to be ended first"
    capsys.readouterr()
    code, said = device.run(cut.then), capsys.readouterr().out
    assert device.calls[len(before) :] == cut.calls
    assert (code, said) == (cut.code, cut.said)
    assert device.provides["artifact_name"] == cut.name
    over = bool(cut.calls)
    assert (in_progress(device.journal) is None) == over
    assert device.tree.exists() != over


def test_a_download_that_was_killed_does_not_hinder_the_next_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = StandaloneDevice(tmp_path, monkeypatch)
    device.kills("Download")
    artifact = device.artifact()
    assert device.killed("install", artifact)
    assert device.run("install", artifact) == 0
    assert device.calls[-5:] == [
        *("ProvidePayloadFileSizes", "Download", "ArtifactInstall", "ArtifactCommit", "Cleanup")
    ]
    assert device.calls.count("Cleanup") == 2, "the first one is the killed download's"
