"""Updates by hand: sources, several payloads, keys, the lock, a full disk."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent import app_by_hand
from device_agent.core.standalone import Ending
from device_agent.journal import Journal, JournalUnavailable
from device_agent.lock import locked
from device_agent.settings import load_local
from device_agent.standalone import in_progress
from device_agent.standalone_source import FileSource
from tests.support.artifact_keys import PEMS, SIGNERS
from tests.support.fault_server import Asked, FaultServer, Reply, files
from tests.support.standalone_device import ByHand, StandaloneDevice

TWO = ByHand(payloads=({"a": b"1"}, {"b": b"2"}))


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandaloneDevice:
    return StandaloneDevice(tmp_path, monkeypatch)


def stored(device: StandaloneDevice, part: str = "0000") -> Path:
    return device.state / "modules" / "v3" / "payloads" / part / "tree" / "files"


def test_an_artifact_comes_over_a_connection_that_breaks(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytes(range(256)) * 2000
    device.artifact(ByHand(payloads=({"app.bin": content},)))
    device.can_roll_back()
    cuts = [200_000, 100_000]
    with FaultServer(files(device.root)) as server:

        def cut(_: Asked, reply: Reply) -> Reply:
            return replace(reply, cut=cuts.pop()) if cuts else reply

        server.on("new", cut)
        assert device.run("install", f"{server.url}/new.mender") == 0
    assert [asked.headers.get("range") for asked in server.asked] == [
        *(None, "bytes=100000-", "bytes=300000-")
    ]
    assert (stored(device) / "app.bin").read_bytes() == content
    assert capsys.readouterr().err == "", "no progress line where no terminal is"


def test_an_address_that_has_nothing_changes_nothing(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultServer(files(device.root)) as server:
        assert device.run("install", f"{server.url}/absent.mender") == 1
    assert capsys.readouterr().out == "Streaming failed.\nSystem not modified.\n"
    assert device.calls == []


@pytest.mark.parametrize("content", [b"", b"no artifact", ByHand().bytes()[:1500]])
def test_what_is_no_artifact_runs_nothing(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    device.image_script("Download_Enter_00")
    path = device.root / "broken.mender"
    path.write_bytes(content)
    assert device.run("install", path) == 1
    assert capsys.readouterr().out == "Streaming failed.\nSystem not modified.\n"
    assert device.calls == []


def test_an_artifact_that_ends_too_early_installs_nothing(device: StandaloneDevice) -> None:
    path = device.artifact()
    path.write_bytes(path.read_bytes()[:-2048])
    assert device.run("install", path) == 1
    assert "ArtifactInstall" not in device.calls
    assert device.calls[-1] == "Cleanup"


def test_standard_input_brings_an_artifact_once(device: StandaloneDevice) -> None:
    artifact = device.artifact()
    command = [sys.executable, "-m", "device_agent", "install", "--config", str(device.config), "-"]
    with artifact.open("rb") as stream:
        first, second = (
            subprocess.run(command, stdin=stream, capture_output=True, timeout=60, check=False)
            for _ in range(2)
        )
    assert first.returncode == 0, first.stderr
    assert first.stdout.endswith(b"Installed and committed.\n")
    assert (second.returncode, second.stdout) == (1, b"Streaming failed.\nSystem not modified.\n")


def test_trees_that_cannot_all_be_made_are_all_removed(device: StandaloneDevice) -> None:
    in_the_way = stored(device, "0000_0001").parents[1]
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("no directory")
    assert device.run("install", device.artifact(TWO)) == 1
    assert device.parts == ["0000 Cleanup"]
    assert not device.tree.exists()


def test_several_payloads_are_installed_in_order_and_undone_in_reverse(
    device: StandaloneDevice,
) -> None:
    device.can_roll_back()
    assert device.run("install", device.artifact(TWO)) == 0
    assert device.run("rollback") == 0
    assert device.parts[-8:] == [
        "0000 ArtifactInstall",
        "0000_0001 ArtifactInstall",
        "0000_0001 ArtifactRollback",
        "0000 ArtifactRollback",
        "0000 ArtifactFailure",
        "0000_0001 ArtifactFailure",
        "0000 Cleanup",
        "0000_0001 Cleanup",
    ]


def test_only_payloads_whose_install_was_begun_are_undone(device: StandaloneDevice) -> None:
    device.can_roll_back()
    device.fails("ArtifactInstall")
    assert device.run("install", device.artifact(TWO)) == 1
    undone = [part for part in device.parts if "ArtifactRollback" in part]
    assert undone == ["0000 ArtifactRollback"]


def test_a_kill_in_the_second_install_undoes_both(device: StandaloneDevice) -> None:
    device.can_roll_back()
    device.does("ArtifactInstall", 'case "$2" in */0000_0001/*) kill -9 $PPID ;; esac')
    assert device.killed("install", device.artifact(TWO))
    assert device.run("resume") == 0
    undone = [part for part in device.parts if "ArtifactRollback" in part]
    assert undone == ["0000_0001 ArtifactRollback", "0000 ArtifactRollback"]


def test_one_payload_without_rollback_is_enough_to_commit_at_once(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.does("SupportsRollback", 'case "$2" in */0000/*) echo Yes ;; esac')
    assert device.run("install", device.artifact(TWO)) == 0
    assert "Committing immediately." in capsys.readouterr().out


def test_a_module_that_lost_its_rollback_changes_nothing_by_hand(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.can_roll_back()
    device.run("install", device.artifact())
    device.does_nothing_special()
    before, _ = device.calls, capsys.readouterr()
    assert device.run("rollback") == 1
    assert capsys.readouterr().out.startswith("Update Module does not support rollback.")
    assert device.calls == before
    assert device.run("commit") == 0, "it is still there to be decided"


def test_a_good_installation_takes_the_doubt_away(device: StandaloneDevice) -> None:
    device.fails("ArtifactInstall")
    assert device.run("install", device.artifact()) == 1
    assert device.provides["artifact_name"] == "new_INCONSISTENT"
    device.does_nothing_special()
    assert device.run("install", device.artifact()) == 0
    assert device.provides["artifact_name"] == "new"


def test_an_artifact_that_says_too_much_of_itself_is_refused_before_it_is_journaled(
    device: StandaloneDevice,
) -> None:
    wordy = ByHand(provides={"app.version": "9" * 70_000})
    assert device.run("install", device.artifact(wordy)) == 1
    assert in_progress(device.journal) is None
    assert device.run("install", device.artifact()) == 0


def test_with_keys_an_unsigned_artifact_is_refused(device: StandaloneDevice) -> None:
    (device.root / "key.pem").write_bytes(PEMS[2])
    device.configure('verify_keys = ["key.pem"]\n')
    assert device.run("install", device.artifact()) == 1
    assert device.run("install", device.artifact(ByHand(payloads=(None,)))) == 1
    assert device.calls == []
    assert device.run("install", device.artifact(ByHand(sign=SIGNERS["ed25519"]))) == 0


def test_the_daemon_at_work_keeps_people_waiting(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.state.mkdir()
    with locked(device.state / "agent.lock"):
        codes = [device.run("install", "new.mender"), device.run("commit"), device.run("resume")]
    assert codes == [76, 76, 76]
    assert "another fleetcd-agent" in capsys.readouterr().err


def test_names_and_provides_are_printed(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    assert device.run("show-artifact") == device.run("show-provides") == 0
    assert capsys.readouterr().out == "unknown\n"
    device.has("old", **{"app.version": "1"})
    with locked(device.state / "agent.lock"):
        assert device.run("show-artifact") == device.run("show-provides") == 0
    assert capsys.readouterr().out == "old\napp.version=1\nartifact_name=old\n"


def test_an_artifact_that_says_nothing_of_clearing_clears_all(device: StandaloneDevice) -> None:
    device.has("old", **{"boot.version": "7"})
    assert device.run("install", device.artifact(ByHand(clears=None))) == 0
    assert device.provides == {"artifact_name": "new", "app.version": "new"}


def test_an_update_in_progress_is_named(
    device: StandaloneDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.can_roll_back()
    assert in_progress(device.journal) is None
    device.run("install", device.artifact())
    named = in_progress(device.journal)
    assert named == "the update by hand to new is in progress (before-commit)"
    assert device.run("show") == 0
    assert f"by hand: {named}\n" in capsys.readouterr().out
    device.run("rollback")
    assert in_progress(device.journal) is None


class FullDisk(Journal):
    """A journal that takes `room` more records, and then no more until there is room again."""

    room = 0

    def keep_standalone(self, document: bytes, provides: Mapping[str, str] | None = None) -> None:
        if self.room <= 0:
            raise JournalUnavailable("the disk is full")
        self.room -= 1
        super().keep_standalone(document, provides)


@pytest.fixture
def full(device: StandaloneDevice) -> Iterator[FullDisk]:
    device.has("old")
    device.can_roll_back()
    journal = FullDisk(device.state / "journal.db", id="0" * 32)
    yield journal
    journal.close()


@pytest.mark.parametrize(
    ("room", "calls", "name"),
    [
        pytest.param(0, ["Cleanup"], "old", id="before the install"),
        pytest.param(1, ["Cleanup"], "old", id="in the install"),
        pytest.param(
            *(2, ["ArtifactInstall", "ArtifactRollback", "ArtifactFailure", "Cleanup"], "old"),
            id="after the install",
        ),
    ],
)
def test_what_cannot_be_journaled_is_not_begun(
    device: StandaloneDevice, full: FullDisk, room: int, calls: list[str], name: str
) -> None:
    full.room = room
    said: list[str] = []
    commands = app_by_hand.standalone(load_local(device.config), full, said.append)
    assert commands.install(FileSource(device.artifact())) is Ending.FAILED
    assert device.calls[2:] == calls
    assert device.provides["artifact_name"] == name
    assert in_progress(full) is None


@pytest.mark.parametrize("room", [0, 1, 2])
def test_a_commit_that_cannot_be_journaled_is_taken_back(
    device: StandaloneDevice, full: FullDisk, room: int
) -> None:
    full.room = 99
    artifact = device.artifact(ByHand(bodies={"ArtifactCommit_Error_00": 0}))
    commands = app_by_hand.standalone(load_local(device.config), full, lambda _: None)
    assert commands.install(FileSource(artifact)) is Ending.DONE
    full.room = room
    assert commands.commit() is Ending.FAILED
    begun = {"ArtifactCommit", "ArtifactCommit_Error_00"} & set(device.calls)
    assert len(begun) == (2 if room == 2 else 0)
    assert device.calls[-3:] == ["ArtifactRollback", "ArtifactFailure", "Cleanup"]
    assert device.provides["artifact_name"] == "old"


def test_a_bootstrap_artifact_has_to_be_signed_unless_configured_otherwise(
    device: StandaloneDevice,
) -> None:
    device.configure(artifacts="")
    assert device.run("install", device.artifact(ByHand(payloads=(None,)))) == 1
    device.configure()
    assert device.run("install", device.artifact(ByHand(payloads=(None,)))) == 0
