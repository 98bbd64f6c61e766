"""What a power cut may leave of logged writes. Its logs are made here; one is QEMU's own."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.qemu.block_log import (
    DISCARDED,
    FLUSHED,
    FORCED,
    HEADER,
    MAGIC,
    SECTOR,
    SUPERBLOCK,
    VERSION,
    Area,
    BrokenLog,
    CutPoint,
    Entry,
    Flush,
    Plan,
    Write,
    apply,
    cut_points,
    force,
    read_log,
    surviving,
)

DISK = 64  # sectors
SEEDS = range(200)  # enough to meet whatever a cut may do to a few writes
FLUSH = HEADER.pack(0, 0, FLUSHED, 0).ljust(SECTOR, b"\0")


def written(sector: int, content: bytes, flags: int = 0) -> bytes:
    """Return the entry of a write. `content` is as long as some sectors."""
    header = HEADER.pack(sector, len(content) // SECTOR, flags, 0)
    return header.ljust(SECTOR, b"\0") + content


def log_of(path: Path, *entries: bytes, counted: int | None = None, tail: bytes = b"") -> Path:
    """Make a log; the superblock counts all entries, or `counted`."""
    count = len(entries) if counted is None else counted
    superblock = SUPERBLOCK.pack(MAGIC, VERSION, count, SECTOR).ljust(SECTOR, b"\0")
    path.write_bytes(superblock + b"".join(entries) + tail)
    return path


def sectors(text: str) -> bytes:
    """Return a sector full of each letter."""
    return b"".join(letter.encode() * SECTOR for letter in text)


def write(sector: int, length: int = 1, *, forced: bool = False) -> Write:
    return Write(sector, length, at=SECTOR, forced=forced)


def sectors_of(writes: Sequence[Write]) -> list[int]:
    return [number for write in writes for number in range(write.sector, write.end)]


def plans(entries: Sequence[Entry], after: int) -> list[Plan]:
    return [surviving(entries, CutPoint(after, seed, "a test")) for seed in SEEDS]


@st.composite
def logs(draw: st.DrawFn) -> tuple[Entry, ...]:
    """Writes all over a disk of DISK sectors, with data of their own in the log, and flushes."""
    entries: list[Entry] = []
    at = SECTOR
    for _ in range(draw(st.integers(1, 25))):
        if draw(st.integers(0, 4)) == 0:
            entries.append(Flush())
        else:
            length = draw(st.integers(1, 8))
            sector = draw(st.integers(0, DISK - length))
            entries.append(Write(sector, length, at, draw(st.integers(0, 4)) == 0))
            at += length * SECTOR
    return tuple(entries)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[tuple[Entry, ...], CutPoint]:
    entries = draw(logs())
    after = draw(st.integers(0, len(entries)))
    return entries, CutPoint(after, draw(st.integers(0, 2**32)), "a test")


def versions(writes: Sequence[Write]) -> dict[int, int]:
    """Return where in the log each sector's content comes from once all are written."""
    return {
        sector: (write.at or 0) + number * SECTOR
        for write in writes
        for number, sector in enumerate(range(write.sector, write.end))
    }


def test_a_log_is_read_as_its_writes_and_flushes(tmp_path: Path) -> None:
    entries = (written(8, sectors("ab")), FLUSH, written(3, sectors("c"), FORCED))
    log = log_of(tmp_path / "log", *entries)
    first = Write(8, 2, at=2 * SECTOR)
    assert read_log(log) == (first, Flush(), Write(3, 1, at=6 * SECTOR, forced=True))


def test_a_discard_is_a_write_of_zeros_without_data(tmp_path: Path) -> None:
    discard = HEADER.pack(4, 2, DISCARDED, 0).ljust(SECTOR, b"\0")
    log = log_of(tmp_path / "log", discard, written(0, sectors("a")))
    assert read_log(log) == (Write(4, 2, at=None), Write(0, 1, at=3 * SECTOR))


def test_whole_entries_behind_the_last_flush_are_read_too(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", FLUSH, written(8, sectors("ab")), counted=1)
    assert read_log(log) == (Flush(), Write(8, 2, at=3 * SECTOR))


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(written(8, sectors("ab"))[:-1], id="data cut short"),
        pytest.param(written(8, sectors("ab"))[:100], id="header cut short"),
        pytest.param(bytes(4 * SECTOR), id="zeros"),
        pytest.param(sectors("xyz"), id="no header"),
        pytest.param(written(8, b"") + FLUSH, id="a write of nothing"),
    ],
)
def test_the_entry_that_qemu_was_killed_at_ends_the_log(tmp_path: Path, tail: bytes) -> None:
    log = log_of(tmp_path / "log", FLUSH, tail=tail)
    assert read_log(log) == (Flush(),)


def test_a_counted_entry_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", FLUSH, written(8, sectors("ab"))[:-1])
    with pytest.raises(BrokenLog, match=r"1 of 2 entries are whole.* byte 1024"):
        read_log(log)


@pytest.mark.parametrize(
    ("superblock", "says"),
    [
        pytest.param(b"", "no superblock", id="empty"),
        pytest.param(bytes(SECTOR), "no superblock", id="never flushed"),
        pytest.param(SUPERBLOCK.pack(MAGIC, 2, 0, SECTOR), "no superblock", id="later version"),
        pytest.param(SUPERBLOCK.pack(MAGIC, VERSION, 0, 4096), "4096", id="other sectors"),
    ],
)
def test_a_log_of_another_kind_is_refused(tmp_path: Path, superblock: bytes, says: str) -> None:
    log = tmp_path / "log"
    log.write_bytes(superblock)
    with pytest.raises(BrokenLog, match=says):
        read_log(log)


def test_a_disk_is_rebuilt_from_the_data_in_the_log(tmp_path: Path) -> None:
    discard = HEADER.pack(3, 1, DISCARDED, 0).ljust(SECTOR, b"\0")
    log = log_of(tmp_path / "log", written(1, sectors("abc")), written(2, sectors("d")), discard)
    disk = tmp_path / "disk"
    disk.write_bytes(sectors("-----"))
    writes = [entry for entry in read_log(log) if isinstance(entry, Write)]
    apply(log, writes, disk)
    assert disk.read_bytes() == sectors("-ad") + bytes(SECTOR) + sectors("-")


def test_part_of_a_write_comes_from_its_place_in_the_log(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", written(1, sectors("abc")))
    disk = tmp_path / "disk"
    disk.write_bytes(sectors("-----"))
    (whole,) = read_log(log)
    assert isinstance(whole, Write)
    apply(log, [whole.part(1, 2)], disk)
    assert disk.read_bytes() == sectors("--bc-")


def test_data_that_the_log_lacks_is_not_taken_for_zeros(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", written(1, sectors("a")))
    disk = tmp_path / "disk"
    disk.write_bytes(sectors("-----"))
    with pytest.raises(BrokenLog, match="2 sectors at byte 1024 are cut off"):
        apply(log, [Write(1, 2, at=2 * SECTOR)], disk)


@given(cuts())
def test_what_was_flushed_or_forced_is_never_lost(
    drawn: tuple[tuple[Entry, ...], CutPoint],
) -> None:
    entries, cut = drawn
    ended = entries[: cut.after]
    flushes = [number for number, entry in enumerate(ended) if entry == Flush()]
    durable = ended[: flushes[-1]] if flushes else ()
    forced = [entry for entry in ended if isinstance(entry, Write) and entry.forced]
    survived = surviving(entries, cut).writes
    assert {entry for entry in durable if isinstance(entry, Write)} <= set(survived)
    assert set(forced) <= set(survived)


@given(cuts())
def test_each_sector_is_old_or_new(drawn: tuple[tuple[Entry, ...], CutPoint]) -> None:
    """Whatever survives, each sector holds what some write up to the cut made it, or none did; and
    nothing older than the last durable write to it."""
    entries, cut = drawn
    reached = [entry for entry in entries[: cut.after + 1] if isinstance(entry, Write)]
    possible: dict[int, set[int]] = {sector: {0} for sector in range(DISK)}
    flushed = max(
        (n for n, entry in enumerate(entries[: cut.after]) if entry == Flush()), default=0
    )
    for number, entry in enumerate(entries[: cut.after + 1]):
        if isinstance(entry, Write):
            durable = number < flushed or (entry.forced and number < cut.after)
            for sector, version in versions([entry]).items():
                possible[sector] = {version} if durable else possible[sector] | {version}
    found = versions(surviving(entries, cut).writes)
    assert all(found.get(sector, 0) in possible[sector] for sector in range(DISK))
    assert set(found) <= set(versions(reached))


@given(cuts())
def test_what_is_kept_torn_and_lost_is_all_that_was_not_durable(
    drawn: tuple[tuple[Entry, ...], CutPoint],
) -> None:
    entries, cut = drawn
    plan = surviving(entries, cut)
    flushed = max(
        (n for n, entry in enumerate(entries[: cut.after]) if entry == Flush()), default=0
    )
    volatile = [
        entry
        for number, entry in enumerate(entries[: cut.after + 1])
        if number >= flushed
        and isinstance(entry, Write)
        and not (entry.forced and number < cut.after)
    ]
    assert plan.kept + plan.torn + plan.lost == len(volatile)


@given(logs())
def test_with_everything_kept_the_disk_is_that_of_the_prefix(entries: tuple[Entry, ...]) -> None:
    prefix = [entry for entry in entries if isinstance(entry, Write)]
    whole = [plan for plan in plans(entries, len(entries)) if not plan.torn and not plan.lost]
    assert whole
    assert all(list(plan.writes) == prefix for plan in whole)


@given(cuts())
def test_the_same_cut_is_the_same_disk(drawn: tuple[tuple[Entry, ...], CutPoint]) -> None:
    entries, cut = drawn
    assert surviving(entries, cut) == surviving(entries, cut)


def test_nothing_that_begins_after_the_cut_is_on_the_disk() -> None:
    entries = (write(0), write(1), write(2))
    assert {n for plan in plans(entries, 1) for n in sectors_of(plan.writes)} == {0, 1}


def test_of_two_writes_either_may_be_lost_and_the_other_kept() -> None:
    entries = (write(0), write(1))
    survivors = {tuple(sectors_of(plan.writes)) for plan in plans(entries, 2)}
    assert survivors == {(), (0,), (1,), (0, 1)}


def test_of_many_writes_all_may_be_lost_or_kept() -> None:
    entries = tuple(write(sector) for sector in range(40))
    found = plans(entries, len(entries))
    assert any(plan.lost == len(entries) for plan in found)
    assert any(plan.kept == len(entries) for plan in found)


def test_a_write_is_torn_behind_a_prefix_and_in_its_middle() -> None:
    survivors = {tuple(sectors_of(plan.writes)) for plan in plans((write(0, 4),), 1)}
    assert {(0,), (0, 1), (0, 1, 2)} <= survivors
    assert {(1, 2), (0, 3), (3,)} & survivors


def test_an_older_write_never_covers_a_newer_one() -> None:
    older, newer = Write(0, 1, at=SECTOR), Write(0, 1, at=2 * SECTOR)
    both = [plan.writes for plan in plans((older, newer), 2) if len(plan.writes) == 2]
    assert both and set(both) == {(older, newer)}


def test_a_forced_write_under_way_is_kept_or_lost_and_not_torn() -> None:
    entries = (write(0, 8, forced=True),)
    assert {(plan.kept, plan.lost) for plan in plans(entries, 0)} == {(1, 0), (0, 1)}
    assert all(plan.writes == entries for plan in plans(entries, 1))


def test_a_device_that_hides_what_it_was_asked_to_force_is_helped(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", written(0, sectors("ax")), FLUSH, written(1, sectors("b")))
    entries = force(
        log, read_log(log), lambda write, start: (write.sector, start) == (0, sectors("a"))
    )
    assert entries == (Write(0, 2, 2 * SECTOR, forced=True), Flush(), Write(1, 1, 6 * SECTOR))


def test_a_write_that_the_log_shows_as_forced_stays_so(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", written(0, sectors("a"), FORCED))
    assert force(log, read_log(log), lambda write, start: write.sectors > len(start)) == read_log(
        log
    )


AREA = Area("the variables", 10, 2)
UPDATE = (
    *(write(40), write(41), Flush(), write(10), Flush(), write(42)),
    *(Flush(), write(11), write(10), Flush(), Flush(), write(43)),
)


def test_cuts_are_around_every_write_to_an_area_and_every_flush_of_something() -> None:
    cuts = cut_points(UPDATE, len(UPDATE) + 1, [AREA])
    assert {cut.after for cut in cuts} == set(range(len(UPDATE) + 1))
    reasons = {cut.after: cut.why for cut in cuts}
    assert reasons[7] == "during a write to the variables"
    assert reasons[8] == "after a write to the variables"
    assert reasons[9] == "during a flush"
    assert reasons[10] == "after a flush"


def test_a_flush_of_nothing_is_not_telling() -> None:
    cuts = cut_points((write(0), Flush(), Flush(), Flush()), 5, [])
    assert {cut.after for cut in cuts if "flush" in cut.why} == {1, 2}


def test_the_first_cuts_are_the_most_telling() -> None:
    whys = [cut.why for cut in cut_points(UPDATE, 2, [AREA])]
    assert whys == ["during a write to the variables", "during a flush"]


def test_the_first_few_cuts_lie_far_apart() -> None:
    entries = tuple(write(0) for _ in range(62))
    assert [cut.after for cut in cut_points(entries, 4, [])] == [31, 15, 47, 7]


def test_a_write_touches_an_area_that_it_shares_a_sector_with() -> None:
    touching = [AREA.touched_by(entry) for entry in (write(8, 3), write(11, 5), write(0, 60))]
    beside = [AREA.touched_by(entry) for entry in (write(8, 2), write(12, 5), Flush())]
    assert touching == [True] * 3 and beside == [False] * 3


@given(logs(), st.integers(1, 60))
def test_there_are_as_many_different_cuts_as_asked_for(
    entries: tuple[Entry, ...], count: int
) -> None:
    found = cut_points(entries, count, [Area("the middle", 20, 20)])
    assert len({(cut.after, cut.seed) for cut in found}) == count
    assert all(0 <= cut.after <= len(entries) for cut in found)
    assert found == cut_points(entries, count, [Area("the middle", 20, 20)])


def test_fewer_cuts_are_the_first_ones_of_more() -> None:
    assert cut_points(UPDATE, 30, [AREA])[:7] == cut_points(UPDATE, 7, [AREA])


@pytest.mark.ci
def test_a_log_of_qemu_itself_rebuilds_its_disk(tmp_path: Path) -> None:
    """qemu-io is of the package qemu-utils, which the tests of boards need anyway."""
    disk, rebuilt, log = (tmp_path / name for name in ("disk", "rebuilt", "log"))
    for file in (disk, rebuilt):
        file.write_bytes(b"\x55" * 256 * SECTOR)
    log.touch()
    node = f"driver=blklogwrites,log-sector-size={SECTOR},file.driver=file,file.filename={disk}"
    argv = ["qemu-io", "--image-opts", f"{node},log.driver=file,log.filename={log}"]
    for command in (
        *("write -P 1 0 4k", "write -P 2 8k 512", "flush", "write -z 4k 2k"),
        *("write -f -P 3 16k 1k", "write -z -u 20k 4k", "write -P 4 512 512"),
    ):
        argv += ["-c", command]
    subprocess.run(argv, check=True, timeout=60, capture_output=True)
    entries = read_log(log)
    writes = [entry for entry in entries if isinstance(entry, Write)]
    assert [(write.sector, write.sectors) for write in writes] == [
        *((0, 8), (16, 1), (8, 4), (32, 2), (40, 8), (1, 1)),
    ]
    assert entries[entries.index(writes[3]) + 1] == Flush(), "QEMU forces a write with a flush"
    apply(log, writes, rebuilt)
    assert rebuilt.read_bytes() == disk.read_bytes()
