"""The model of a disk that loses what was not synced, before it is believed about our own code."""

import random
import secrets
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from device_agent import durable
from device_agent.core.record import Record
from device_agent.core.states import State
from device_agent.journal import Journal
from tests.crash.disk import JOURNAL, Disk, Image, Loss
from tests.crash.harness import LOSSES, Mode, new_device, scratch, settle
from tests.crash.instants import Instants, torn, watched
from tests.crash.sameness import sameness
from tests.crash.scenarios import SCENARIOS, SECTOR
from tests.crash.world import World
from tests.support.agent_fakes import MODULE, a_record


def left(disk: Disk, loss: Loss, number: int = 0) -> dict[str, bytes]:
    return dict(disk.image(loss, number).files)


def test_a_write_that_was_not_synced_may_be_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    disk = Disk(tmp_path)
    (tmp_path / "file").write_bytes(b"new")
    assert left(disk, Loss.LOST) == {"file": b"old"}
    assert left(disk, Loss.KEPT) == {"file": b"new"}


def test_half_a_write_consists_of_whole_sectors(tmp_path: Path) -> None:
    slot = tmp_path / "slot"
    slot.write_bytes(b"o" * SECTOR * 4)
    disk = Disk(tmp_path)
    slot.write_bytes(b"n" * SECTOR * 4)
    seen = {left(disk, Loss.MIXED, number)["slot"] for number in range(200)}
    assert len(seen) == 2**4
    assert all(
        set(whole[at : at + SECTOR]) in ({ord("o")}, {ord("n")})
        for whole in seen
        for at in range(0, 4 * SECTOR, SECTOR)
    )


def test_a_rename_is_lost_with_its_directory_and_its_bytes_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    disk = Disk(tmp_path)
    (tmp_path / "file.new").write_bytes(b"new")
    (tmp_path / "file.new").replace(tmp_path / "file")
    assert left(disk, Loss.LOST) == {"file": b"old"}
    with watched(Instants(disk)):
        durable.sync_directory(tmp_path)
    assert left(disk, Loss.LOST) == {"file": b""}


def test_a_directory_takes_along_what_was_synced_in_it_when_it_is_renamed(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with watched(Instants(disk)):
        durable.make_directory(tmp_path / "new")
        durable.write(tmp_path / "new" / "file", b"new")
    (tmp_path / "new").rename(tmp_path / "place")
    assert left(disk, Loss.LOST) == {"new/file": b"new"}
    assert left(disk, Loss.KEPT) == {"place/file": b"new"}
    with watched(Instants(disk)):
        durable.sync_directory(tmp_path)
    assert left(disk, Loss.LOST) == {"place/file": b"new"}


def test_what_durable_write_has_written_is_never_lost(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with watched(Instants(disk)):
        durable.write(tmp_path / "file", b"new")
    assert all(left(disk, loss) == {"file": b"new"} for loss in Loss)
    with watched(Instants(disk)):
        durable.remove(tmp_path / "file")
    assert all(left(disk, loss) == {} for loss in Loss)


def test_durable_write_may_be_cut_anywhere_and_leaves_the_old_bytes_or_the_new(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    instants = Instants(Disk(tmp_path), tuple(Loss))
    with watched(instants):
        durable.write(tmp_path / "file", b"new")
    found = {dict(image.files)["file"] for image in instants.images}
    assert found == {b"old", b"new"}


def test_a_transaction_cut_in_any_sector_of_the_log_is_there_or_not(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path, id=secrets.token_hex(16))
    old, new = a_record(MODULE), replace(a_record(MODULE), entries=7)
    journal.enter(old)
    before = _journal_files(tmp_path)
    journal.enter(new)
    after = _journal_files(tmp_path)
    journal.close()
    found = {
        _recovered(tmp_path / str(number), {**after, **torn(before, after, random.Random(number))})
        for number in range(60)
    }
    assert old.entries in found
    assert found <= {old.entries, new.entries}
    assert _recovered(tmp_path / "before", before) == old.entries
    assert _recovered(tmp_path / "after", after) == new.entries


def test_a_checkpoint_cut_anywhere_loses_nothing(tmp_path: Path) -> None:
    """Closing moves the log into the database, in place; the log goes when that is synced."""
    path = tmp_path / "journal.db"
    journal = Journal(path, id=secrets.token_hex(16))
    journal.enter(replace(a_record(MODULE), entries=7))
    before = _journal_files(tmp_path)
    journal.close()
    after = _journal_files(tmp_path)
    assert set(before) - set(after) == {"journal.db-wal"}
    for number in range(30):
        mixed = torn(before, after, random.Random(number))
        assert _recovered(tmp_path / str(number), {**before, **mixed}) == 7


def _journal_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in JOURNAL if (folder / name).exists()}


def _recovered(folder: Path, files: dict[str, bytes]) -> int | None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    journal = Journal(folder / "journal.db", id=secrets.token_hex(16))
    record = journal.record()
    journal.close()
    return record.entries if record else None


def _device_at(root: Path, image: Image, name: str) -> World:
    image.write_to(root)
    return World(root, SCENARIOS[name])


@pytest.mark.parametrize("name", ["good", "unhealthy", "three", "module-automatic-unhealthy"])
def test_between_the_last_effect_of_a_state_and_the_row_of_the_next_there_is_an_instant(
    name: str,
) -> None:
    """So the first image of a state differs from some image of the one before in the row alone."""
    with scratch() as root:
        world = new_device(root / "device", SCENARIOS[name])
        instants = Instants(Disk(world.root), LOSSES[Mode.PROCESS_KILL])
        settle(world, instants, Mode.PROCESS_KILL)
        instants.close()
        images = [
            (_device_at(root / f"image-{number}", image, name).journaled(), _files(image))
            for number, image in enumerate(instants.images)
        ]
    passed = [state for state, _ in images]
    assert len(set(passed)) > 8
    for (state, files), (after, files_after) in pairwise(images):
        if state is not after and not _restarts(state):
            assert files == files_after, f"{state}'s last effect and the row of {after} are one"


def _files(image: Image) -> dict[str, bytes]:
    """Return the effects: neither the journal, nor what a durable write has not renamed yet."""
    effects = (one for one in image.files if not one[0].startswith("journal"))
    return {name: content for name, content in effects if not name.endswith(".new")}


def _restarts(state: State) -> bool:
    """Nobody kills the firmware: the restart itself has no instants when the agent is killed."""
    return state in (State.REBOOT, State.ROLLBACK_REBOOT)


def test_devices_that_differ_in_random_names_only_are_the_same(tmp_path: Path) -> None:
    one, other = (new_device(tmp_path / name, SCENARIOS["good"]) for name in ("one", "other"))
    assert sameness(one) == sameness(other)


@pytest.mark.parametrize("change", ["record", "variables", "file", "report"])
def test_devices_that_differ_in_anything_else_are_not(tmp_path: Path, change: str) -> None:
    one, other = (new_device(tmp_path / name, SCENARIOS["good"]) for name in ("one", "other"))
    match change:
        case "record":
            _enter(other, replace(other.scenario.record(), entries=2))
        case "variables":
            other.restart()
        case "file":
            other.slots["b"].write_bytes(b"n" * SECTOR)
        case "report":
            with closing(sqlite3.connect(other.root / "journal.db")) as journal:
                journal.execute("DELETE FROM outbox")
                journal.commit()
    assert sameness(one) != sameness(other)


def _enter(world: World, record: Record) -> None:
    journal = world.journal()
    journal.enter(record)
    journal.close()
