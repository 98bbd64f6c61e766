"""One whole update, recorded write by write, and then cut short at many instants: it ends whole.

The instants are those around the writes that matter most, and the disk of each has lost or torn
some of what was not flushed by then. FLEETCD_REPLAYED_CUTS says how many (default 40; the most
telling come first), FLEETCD_TEST_WORKERS how many machines run at once (default 2).
"""

import hashlib
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agent.core.states import State
from device_agent.journal import Journal
from schemas.wire.report import Outcome
from schemas.wire.status import Phase
from tests.qemu.block_log import (
    SECTOR,
    Area,
    CutPoint,
    Entry,
    Plan,
    Write,
    apply,
    cut_points,
    force,
    read_log,
    surviving,
)
from tests.qemu.disk import make_disk
from tests.qemu.ext4_writes import forced_by_ext4, journal_of
from tests.qemu.host import OWN_FILES, Host
from tests.qemu.machine import Board, BoardError, Wiring
from tests.qemu.partitions import MIB, PARTITIONS, SLOT, Disk, tree
from tests.qemu.programs import run
from tests.qemu.uboot import UBootKind

pytestmark = pytest.mark.qemu_all

CUTS = int(os.environ.get("FLEETCD_REPLAYED_CUTS", "40"))
MACHINES = int(os.environ.get("FLEETCD_TEST_WORKERS", "2"))
PATIENCE = 600.0  # seconds for a whole update; ten times what it takes on an idle core
REWRITTEN = range(7, 90, 18)  # MiB of the inactive slot that do not hold the new image yet
OLD, NEW = ("a", "1"), ("b", "2")  # slot and image
UNACTIVATED = (None, State.DOWNLOAD, State.INSTALL_WAIT, State.REBOOT_WAIT)  # and repeated at will


@dataclass(frozen=True, slots=True)
class Recording:
    """`factory` is the disk before the update, `log` has what was written to it, as `entries`."""

    host: Host
    factory: Disk
    log: Path
    entries: tuple[Entry, ...]
    boot: Area
    journal: Area


@dataclass(frozen=True, slots=True)
class Memory:
    """What the agent's journal says: the state of a deployment at work, and how the last ended."""

    state: State | None
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Rest:
    """A disk without power: its boot variables, the SHA-256 of its slots and of the files that are
    not the agent's, and what the agent remembers."""

    copies: tuple[Mapping[str, str] | None, ...]
    slots: Mapping[str, str]
    files: Mapping[str, str | None]
    memory: Memory

    @property
    def variables(self) -> Mapping[str, str]:
        """The newest intact copy of the boot variables."""
        intact = [copy for copy in self.copies if copy is not None]
        return max(intact, key=lambda copy: int(copy["fleetcd_seq"], 16), default={})

    def goes_on(self) -> bool:
        """Whether the update is completed from here; if not, it is rolled back.

        An installation that was cut off is not taken up again, and a slot whose activation was lost
        is not told from one that fell back. (See RESUME and resume_state in core/states.py.)
        """
        state, words = self.memory.state, self.variables
        tried = (words.get("fleetcd_trial"), words.get("fleetcd_left") != "0")
        starts = words.get("fleetcd_primary") == NEW[0] or tried == (NEW[0], True)
        return state in UNACTIVATED or (state is not State.INSTALL and starts)


@dataclass(frozen=True, slots=True)
class Replay:
    """How a board went on after a cut: `told` for people."""

    told: str
    cut: Rest
    end: Rest


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    directory = tmp_path_factory.mktemp("cuts")
    with Host(directory, UBootKind()) as host:
        host.prepare()
        host.release_image(NEW[1], host.image(NEW[1]))
        host.start_reconciler()
        factory = _factory(host)
        log = directory / "writes.log"
        _record(host, _copy(factory, directory / "recorded"), log)
        # The replayed board is the recorded one to the reconciler, and would tell it other things.
        host.stop_reconciler()
        host.start_reconciler("gateway", "tree")
        variables, data = PARTITIONS["variables"], PARTITIONS["data"]
        image = directory / "data.img"
        image.write_bytes(factory.read("data", data.size))
        journal = journal_of(image, data.start // SECTOR)
        forced = forced_by_ext4(data.start // SECTOR, journal)
        boot = Area("the boot variables", variables.start // SECTOR, variables.size // SECTOR)
        yield Recording(host, factory, log, force(log, read_log(log), forced), boot, journal)


@pytest.fixture(scope="module")
def replays(recording: Recording) -> Iterator[list[Future[Replay]]]:
    areas = (recording.boot, recording.journal)
    with ThreadPoolExecutor(MACHINES) as machines:
        cuts = cut_points(recording.entries, CUTS, areas)
        yield [machines.submit(_replay, recording, cut) for cut in cuts]
        machines.shutdown(cancel_futures=True)


def test_no_cut_at_all_loses_both_copies_of_the_boot_variables(
    recording: Recording, tmp_path: Path
) -> None:
    entries, boot = recording.entries, recording.boot
    partition = recording.factory.read("variables", PARTITIONS["variables"].size)
    disk = Disk(recording.host.kind, tmp_path / "disk")
    disk.file.touch()
    lost = []
    instants = _while_volatile(entries, boot)
    assert len(instants) >= 4, "the boot script and the agent write to both copies"
    for after in instants:
        for seed in range(50):
            plan = surviving(entries, CutPoint(after, seed, "unsaved variables"))
            disk.write("variables", partition)
            apply(recording.log, filter(boot.touched_by, plan.writes), disk.file)
            if not any(disk.variables()):
                lost.append((after, seed))
    assert not lost, f"both copies torn, by (entries that had ended, seed): {lost}"


@pytest.mark.parametrize("number", range(CUTS))
def test_an_update_cut_short_anywhere_ends_whole(
    recording: Recording, replays: list[Future[Replay]], number: int
) -> None:
    replay = replays[number].result()
    print(replay.told)
    slot, outcome = (NEW[0], Outcome.OK) if replay.cut.goes_on() else (OLD[0], Outcome.FAILED)
    end = replay.end
    for copy in end.copies:
        assert copy is not None, replay.told
        assert (copy["fleetcd_primary"], copy["fleetcd_trial"]) == (slot, "none"), replay.told
    assert end.memory.outcome is outcome, replay.told
    assert end.memory.state in (None, State.CLEANUP), replay.told
    for name, version in (OLD, NEW):
        if name == slot or replay.cut.goes_on():
            assert end.slots[name] == _digest(recording.host.image(version)), replay.told
    assert end.files == replay.cut.files == _own(tree(recording.host.boards[0].data)), replay.told


def _while_volatile(entries: tuple[Entry, ...], area: Area) -> list[int]:
    """Return the instants at which a write to `area` is under way, or waits for a flush."""
    instants, volatile = [], False
    for number, entry in enumerate(entries):
        touched = area.touched_by(entry)
        instants += [number] if volatile or touched else []
        volatile = touched or (volatile and isinstance(entry, Write))
    return instants


def _factory(host: Host) -> Disk:
    """Make a disk with image 1 in slot a, and most of image 2 in slot b: replays are quicker."""
    directory = host.directory / "factory"
    directory.mkdir()
    image = host.image(OLD[1])
    factory = make_disk(host.kind, directory / "board.disk", image, host.boards[0].data)
    factory.put("root-b", image)  # all but the file that says which image it is
    for mebibyte in REWRITTEN:
        factory.write("root-b", random.Random(mebibyte).randbytes(MIB), at=mebibyte * MIB)
    return factory


def _copy(disk: Disk, directory: Path) -> Disk:
    """Copy a disk, with all that lies beside it, into the new directory."""
    run("cp", "-r", "--sparse=always", disk.file.parent, directory)
    return Disk(disk.kind, directory / disk.file.name)


def _record(host: Host, disk: Disk, log: Path) -> None:
    """Let a board update itself from image 1 to image 2, until all is done and reported."""
    log.touch()
    with Board(disk, disk.file.with_name("console"), wiring=Wiring(log=log)) as board:
        board.power_on()
        board.wait_for("init: image 2,", PATIENCE)
        board.wait_for("cleanup: set", PATIENCE)
        board.wait_until(lambda: _is_completed(host), PATIENCE, "the rollout is completed")


def _is_completed(host: Host) -> bool:
    status = host.status()
    return bool(status and status.rollout and status.rollout.phase is Phase.COMPLETED)


def _replay(recording: Recording, cut: CutPoint) -> Replay:
    """Make the disk that a cut leaves, switch the board on, and wait until it is done."""
    directory = recording.host.directory / f"cut-{cut.after}-{cut.seed}"
    disk = _copy(recording.factory, directory)
    plan = surviving(recording.entries, cut)
    apply(recording.log, plan.writes, disk.file)
    told = _told(cut, plan)
    begun = _at_rest(disk, directory / "before")
    was_done = begun.memory == Memory(None, Outcome.OK)
    told += f"; {begun.memory.state} {dict(begun.variables)}"
    since = time.monotonic()
    with Board(disk, directory / "console") as board:
        board.power_on()
        try:
            board.wait_for("board-1 polls" if was_done else "cleanup: set", PATIENCE)
        except BoardError as error:
            raise BoardError(f"{told}: {error}") from error
    took = f"{board.starts} starts, {time.monotonic() - since:.0f} s"
    end = _at_rest(disk, directory / "after")
    shutil.rmtree(directory)
    return Replay(f"{told}; {took}; {end.memory}", begun, end)


def _told(cut: CutPoint, plan: Plan) -> str:
    lost = f"{plan.kept} kept, {plan.torn} torn, {plan.lost} lost"
    return f"cut after {cut.after} writes and flushes ({cut.why}): {lost}"


def _at_rest(disk: Disk, scratch: Path) -> Rest:
    """Look at a disk. Raises RuntimeError when its data partition is not whole."""
    slots = {name: _slot(disk, name) for name, _ in (OLD, NEW)}
    data = disk.data(scratch)
    return Rest(tuple(disk.variables()), slots, _own(tree(data)), _memory(data))


def _slot(disk: Disk, name: str) -> str:
    return hashlib.sha256(disk.read(f"root-{name}", SLOT)).hexdigest()


def _digest(image: Path) -> str:
    return hashlib.sha256(image.read_bytes()).hexdigest()


def _own(files: Mapping[str, str]) -> dict[str, str | None]:
    return {path: files.get(path) for path in OWN_FILES}


def _memory(data: Path) -> Memory:
    journal = data / "fleetcd" / "journal.db"
    if not journal.exists():
        return Memory(None, None)
    with closing(Journal(journal, id="0" * 32)) as opened:
        record, last = opened.record(), opened.last_outcome()
    if record and record.state is State.CLEANUP:  # it has ended, and is about to say so
        return Memory(record.state, Outcome.FAILED if record.problem else Outcome.OK)
    return Memory(record.state if record else None, last.outcome if last else None)
