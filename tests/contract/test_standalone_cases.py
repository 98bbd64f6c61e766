"""Updates by hand, command by command: Mender's calls, sentences, exit codes and provides.

The rows follow the behaviour of Mender's own client; where ours differs on purpose, it is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.standalone_device import ByHand, StandaloneDevice

DOWNLOADED = ["ProvidePayloadFileSizes", "Download"]
INSTALLED = [*DOWNLOADED, "ArtifactInstall"]
COMMITTED = [*INSTALLED, "ArtifactCommit"]
ROLLED_BACK = ["ArtifactRollback", "ArtifactFailure", "Cleanup"]
BEGIN = "Installing artifact...\n"
WAITS = (
    "Installed, but not committed.\n"
    "Use 'commit' to update, or 'rollback' to roll back the update.\n"
)
AT_ONCE = "Update Module doesn't support rollback. Committing immediately.\n"
BOTH = BEGIN + AT_ONCE + "Installed and committed.\n"
REBOOT = "At least one payload requested a reboot of the device it updated.\n"
IN_DOUBT = "System may be in an inconsistent state.\n"
NO_UPDATE = "No update in progress.\n"


@dataclass(frozen=True)
class Told:
    """A command, its exit code, what it says, and the calls of all commands up to its end."""

    words: str
    code: int
    said: str
    calls: list[str]


@dataclass(frozen=True)
class Row:
    commands: list[Told]
    name: str = "new"  # the device's, in the end
    rollback: bool = False
    fails: tuple[str, ...] = ()
    does: Mapping[str, str] = field(default_factory=dict)
    image: Mapping[str, int] = field(default_factory=dict)
    bodies: Mapping[str, int] = field(default_factory=dict)
    build: ByHand = field(default_factory=ByHand)


def install(code: int, said: str, calls: list[str], *flags: str) -> Told:
    return Told(" ".join(("install", *flags, "ARTIFACT")), code, said, calls)


def stop(state: str) -> str:
    return f"--stop-before {state}"


def chain_of_stops() -> list[Told]:
    rollback, failure = stop("ArtifactRollback_Enter"), stop("ArtifactFailure_Enter")
    cleanup, undone = stop("Cleanup"), [*INSTALLED, "ArtifactRollback"]
    told = [*undone, "ArtifactFailure"]
    return [
        install(1, BEGIN + "Installation failed.\n", INSTALLED, rollback),
        Told(f"resume {rollback}", 0, "", INSTALLED),
        Told(f"rollback {failure}", 0, "Rolled back.\n", undone),
        Told(f"resume {failure}", 0, "Rolled back.\n", undone),
        Told(f"resume {cleanup}", 0, "Rolled back.\n", told),
        Told(f"resume {cleanup}", 0, "Rolled back.\n", told),
        Told("resume", 0, "Rolled back.\n", [*told, "Cleanup"]),
        Told("resume", 2, NO_UPDATE, [*told, "Cleanup"]),
    ]


ROWS = {
    "a module without rollback commits at once": Row([install(0, BOTH, [*COMMITTED, "Cleanup"])]),
    "a module with rollback waits for commit": Row(
        [
            install(0, BEGIN + WAITS, INSTALLED),
            Told("commit", 0, "Committed.\n", [*COMMITTED, "Cleanup"]),
        ],
        rollback=True,
    ),
    "a module with rollback waits for rollback": Row(
        [
            install(0, BEGIN + WAITS, INSTALLED),
            Told("rollback", 0, "Rolled back.\n", [*INSTALLED, *ROLLED_BACK]),
        ],
        name="old",
        rollback=True,
    ),
    "a failed install is rolled back": Row(
        [
            install(
                1,
                BEGIN + "Installation failed.\nRolled back.\n",
                [*INSTALLED, *ROLLED_BACK],
            )
        ],
        name="old",
        rollback=True,
        fails=("ArtifactInstall",),
    ),
    "a failed download changes nothing": Row(
        [install(1, BEGIN + "Streaming failed.\nSystem not modified.\n", [*DOWNLOADED, "Cleanup"])],
        name="old",
        rollback=True,
        fails=("Download",),
    ),
    "a failed rollback leaves doubt": Row(
        [
            install(
                1,
                f"{BEGIN}Installation failed.\nRollback failed. {IN_DOUBT}",
                [*INSTALLED, *ROLLED_BACK],
            )
        ],
        name="new_INCONSISTENT",
        rollback=True,
        fails=("ArtifactInstall", "ArtifactRollback"),
    ),
    "a failed install without rollback leaves doubt": Row(
        [
            install(
                1,
                f"{BEGIN}Installation failed.\nUpdate Module does not support rollback. {IN_DOUBT}",
                [*INSTALLED, "ArtifactFailure", "Cleanup"],
            )
        ],
        name="new_INCONSISTENT",
        fails=("ArtifactInstall",),
    ),
    "a failed ArtifactFailure leaves doubt": Row(
        [
            install(
                1,
                f"{BEGIN}Installation failed.\nRollback failed. {IN_DOUBT}",
                [*INSTALLED, *ROLLED_BACK],
            )
        ],
        name="new_INCONSISTENT",
        rollback=True,
        fails=("ArtifactInstall", "ArtifactFailure"),
    ),
    "a failed commit is rolled back": Row(
        [
            install(0, BEGIN + WAITS, INSTALLED),
            Told("commit", 1, "Committing failed.\nRolled back.\n", [*COMMITTED, *ROLLED_BACK]),
        ],
        name="old",
        rollback=True,
        fails=("ArtifactCommit",),
    ),
    "a rollback by hand that fails ends the update": Row(
        [
            install(0, BEGIN + WAITS, INSTALLED),
            Told("rollback", 1, f"Rollback failed. {IN_DOUBT}", [*INSTALLED, *ROLLED_BACK]),
            Told("rollback", 2, NO_UPDATE, [*INSTALLED, *ROLLED_BACK]),
        ],
        name="new_INCONSISTENT",
        rollback=True,
        fails=("ArtifactRollback",),
    ),
    "a query that fails after the install rolls back": Row(
        [install(1, f"{BEGIN}Rolled back.\n", [*INSTALLED, *ROLLED_BACK])],
        name="old",
        rollback=True,
        fails=("NeedsArtifactReboot",),
    ),
    "an answer nobody understands leaves doubt": Row(
        [
            install(
                1,
                f"{BEGIN}Rollback failed. {IN_DOUBT}",
                [*INSTALLED, "ArtifactFailure", "Cleanup"],
            )
        ],
        name="new_INCONSISTENT",
        does={"SupportsRollback": "echo Perhaps"},
    ),
    "without an update there is nothing to decide": Row(
        [
            Told("commit", 2, NO_UPDATE, []),
            Told("rollback", 2, NO_UPDATE, []),
            Told("resume", 2, NO_UPDATE, []),
        ],
        name="old",
    ),
    "a second install has to wait": Row(
        [
            install(0, BEGIN + WAITS, INSTALLED),
            install(1, "System not modified.\n", INSTALLED),
            Told("commit", 0, "Committed.\n", [*COMMITTED, "Cleanup"]),
        ],
        rollback=True,
    ),
    "a reboot is asked for in words": Row(
        [install(0, BOTH + REBOOT, [*COMMITTED, "Cleanup"])],
        does={"NeedsArtifactReboot": "echo Automatic"},
    ),
    "a reboot is asked for by exit code 4 where that is wanted": Row(
        [install(4, BOTH + REBOOT, [*COMMITTED, "Cleanup"], "--reboot-exit-code")],
        does={"NeedsArtifactReboot": "echo Yes"},
    ),
    "a reboot is asked for before the commit where that waits": Row(
        [
            install(4, BEGIN + WAITS + REBOOT, INSTALLED, "--reboot-exit-code"),
            Told("commit", 0, "Committed.\n", [*COMMITTED, "Cleanup"]),
        ],
        rollback=True,
        does={"NeedsArtifactReboot": "echo Automatic"},
    ),
    "a failed update asks for no reboot": Row(
        [
            install(
                1,
                f"{BEGIN}{AT_ONCE}Committing failed.\n"
                f"Update Module does not support rollback. {IN_DOUBT[:-1]} {REBOOT}",
                [*COMMITTED, "ArtifactFailure", "Cleanup"],
                "--reboot-exit-code",
            )
        ],
        name="new_INCONSISTENT",
        fails=("ArtifactCommit",),
        does={"NeedsArtifactReboot": "echo Yes"},
    ),
    # Mender: exit 1 and `_INCONSISTENT`, of an update that was committed.
    "a good update whose Cleanup fails is good": Row(
        [install(0, BOTH + "Cleanup failed.\n", [*COMMITTED, "Cleanup"])],
        fails=("Cleanup",),
    ),
    "a failed Cleanup of a rolled back update changes no name": Row(
        [
            install(0, BEGIN + WAITS, INSTALLED),
            Told("rollback", 0, "Rolled back. Cleanup failed.\n", [*INSTALLED, *ROLLED_BACK]),
        ],
        name="old",
        rollback=True,
        fails=("Cleanup",),
    ),
    "an artifact with an empty payload only tells a name": Row(
        [
            install(
                0,
                f"{BEGIN}Artifact with empty payload. Committing immediately.\n"
                "Installed and committed.\n",
                [],
            )
        ],
        build=ByHand(payloads=(None,)),
    ),
    "an artifact for other devices is refused before any script": Row(
        [install(1, f"{BEGIN}Streaming failed.\nSystem not modified.\n", [])],
        name="old",
        image={"Download_Enter_00": 0},
        build=ByHand(device_type="toaster"),
    ),
    "an artifact for a module that is not here is refused before any script": Row(
        [install(1, f"{BEGIN}Streaming failed.\nSystem not modified.\n", [])],
        name="old",
        image={"Download_Enter_00": 0},
        build=ByHand(kinds=("unheard-of",)),
    ),
    "stopping before the install, again, and going on": Row(
        [
            install(
                0,
                f"{BEGIN}Streamed to storage, but not installed/enabled.\n",
                DOWNLOADED,
                stop("ArtifactInstall_Enter"),
            ),
            Told(f"resume {stop('ArtifactInstall_Enter')}", 0, "", DOWNLOADED),
            Told("commit", 1, "", DOWNLOADED),
            Told("resume", 0, WAITS, INSTALLED),
            Told("resume", 0, "Committed.\n", [*COMMITTED, "Cleanup"]),
        ],
        rollback=True,
    ),
    "stopping before the install, and rolling back": Row(
        [
            install(
                0,
                f"{BEGIN}Streamed to storage, but not installed/enabled.\n",
                DOWNLOADED,
                stop("ArtifactInstall_Enter"),
            ),
            Told("rollback", 0, "Rolled back.\n", [*DOWNLOADED, *ROLLED_BACK]),
        ],
        name="old",
        rollback=True,
    ),
    "stopping before the commit of a module without rollback": Row(
        [
            install(0, BEGIN + WAITS, INSTALLED, stop("ArtifactCommit_Enter")),
            Told(f"resume {stop('ArtifactCommit_Enter')}", 0, "", INSTALLED),
            Told(f"commit {stop('ArtifactCommit_Leave')}", 0, "Committed.\n", COMMITTED),
            Told("resume", 0, "Cleaned up.\n", [*COMMITTED, "Cleanup"]),
        ],
    ),
    "stopping before ArtifactCommit_Leave, again, and going on": Row(
        [
            install(0, BOTH, COMMITTED, stop("ArtifactCommit_Leave")),
            Told(f"resume {stop('ArtifactCommit_Leave')}", 0, "", COMMITTED),
            Told("commit", 1, "", COMMITTED),
            Told(
                "resume",
                0,
                "Cleaned up.\n",
                [*COMMITTED, "ArtifactCommit_Leave_00", "Cleanup"],
            ),
        ],
        bodies={"ArtifactCommit_Leave_00": 0},
    ),
    "rolling back what is committed, before its Leave scripts": Row(
        [
            install(0, BEGIN + WAITS, INSTALLED),
            Told(f"commit {stop('ArtifactCommit_Leave')}", 0, "Committed.\n", COMMITTED),
            Told("rollback", 0, "Rolled back.\n", [*COMMITTED, *ROLLED_BACK]),
        ],
        name="old",
        rollback=True,
        bodies={"ArtifactCommit_Leave_00": 0},
    ),
    "two stops in one command": Row(
        [
            install(
                0,
                f"{BEGIN}Streamed to storage, but not installed/enabled.\n",
                DOWNLOADED,
                stop("Cleanup"),
                stop("ArtifactInstall_Enter"),
            ),
            Told(f"resume {stop('Cleanup')}", 0, WAITS, INSTALLED),
            Told(f"resume {stop('Cleanup')}", 0, "Committed.\n", COMMITTED),
            Told("rollback", 1, "", COMMITTED),
            Told("resume", 0, "Cleaned up.\n", [*COMMITTED, "Cleanup"]),
        ],
        rollback=True,
    ),
    "every stop on the way back": Row(
        chain_of_stops(), name="old", rollback=True, fails=("ArtifactInstall",)
    ),
    # Mender forgets what an earlier command found, and calls it `new`.
    "a stop does not make a broken device whole": Row(
        [
            install(
                1,
                f"{BEGIN}Installation failed.\nUpdate Module does not support rollback. {IN_DOUBT}",
                INSTALLED,
                stop("ArtifactFailure_Enter"),
            ),
            Told("resume", 0, "Cleaned up.\n", [*INSTALLED, "ArtifactFailure", "Cleanup"]),
        ],
        name="new_INCONSISTENT",
        fails=("ArtifactInstall",),
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_an_update_by_hand(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = StandaloneDevice(tmp_path, monkeypatch)
    device.has("old", **{"app.version": "old", "boot.version": "7"})
    if row.rollback:
        device.can_roll_back()
    device.fails(*row.fails)
    for call, text in row.does.items():
        device.does(call, text)
    for name, status in row.image.items():
        device.image_script(name, status)
    build = row.build if not row.bodies else ByHand(bodies=row.bodies)
    artifact = device.artifact(build)
    for told in row.commands:
        words = [str(artifact) if word == "ARTIFACT" else word for word in told.words.split()]
        code, said = device.run(*words), capsys.readouterr()
        assert (told.words, said.out, code) == (told.words, told.said, told.code), said.err
        assert (told.words, device.calls) == (told.words, told.calls), said.err
    assert device.provides["artifact_name"] == row.name
    if build.kinds == () and build.payloads != (None,):
        changed = "old" if row.name == "old" else "new"
        assert device.provides["app.version"] == changed
        assert device.provides["boot.version"] == "7", "no pattern clears it"
