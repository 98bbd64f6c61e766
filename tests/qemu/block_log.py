"""Reads QEMU's log of block writes, and says what a power cut leaves of them on a disk.

The log is that of `-blockdev driver=blklogwrites`: Linux's dm-log-writes format, an entry for each
request, in the order in which they ended. A disk with a write cache owes only what a flush, or a
forced write, made durable; of the rest each write is kept, lost or torn, in any mixture.

Where the log cannot tell, the disk is given credit: a write that ended while a flush was under way
counts as flushed; a sector of 512 bytes is never torn in itself, and no forced write at all: ext4
relies on that for its superblock, which is two sectors.
"""

import random
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import BinaryIO

SECTOR = 512  # bytes
MAGIC, VERSION = 0x6A736677736872, 1
FLUSHED, FORCED, DISCARDED = 1, 2, 4  # flags of an entry
SUPERBLOCK = struct.Struct("<QQQI")  # magic, version, entries, bytes of a sector
HEADER = struct.Struct("<QQQQ")  # first sector, sectors, flags, bytes of a mark's name

MOST_ENTRIES = 1_000_000
MOST_CUTS = 100_000
CHUNK = 1024 * 1024  # bytes


class BrokenLog(Exception):
    """The file is no whole log of writes; says what is wrong, and where."""


@dataclass(frozen=True, slots=True)
class Write:
    """`sectors` sectors from `sector` on. `at` is where the log file has them; without, zeros.

    A `forced` write is durable once it has ended, without a flush; until then it is kept or lost.
    """

    sector: int
    sectors: int
    at: int | None
    forced: bool = False

    @property
    def end(self) -> int:
        return self.sector + self.sectors

    def part(self, first: int, sectors: int) -> "Write":
        """Return `sectors` of them, from the `first`, counted from 0, on."""
        at = None if self.at is None else self.at + first * SECTOR
        return replace(self, sector=self.sector + first, sectors=sectors, at=at)


@dataclass(frozen=True, slots=True)
class Flush:
    """Whatever ended before it is durable."""


Entry = Write | Flush


@dataclass(frozen=True, slots=True)
class Area:
    """Sectors of a disk that matter most."""

    name: str
    sector: int
    sectors: int

    def touched_by(self, entry: Entry) -> bool:
        if isinstance(entry, Flush):
            return False
        return entry.sector < self.sector + self.sectors and self.sector < entry.end


@dataclass(frozen=True, slots=True)
class CutPoint:
    """The power goes when `after` entries have ended, and the next one is under way.

    `seed` decides what is lost; `why` says what is telling about this instant.
    """

    after: int
    seed: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is on the disk: `writes`, in this order. Of those that were not durable, how many are
    on it whole, in part, and not at all."""

    writes: tuple[Write, ...]
    kept: int
    torn: int
    lost: int


def read_log(path: Path) -> tuple[Entry, ...]:
    """Return a log's entries; the data stays in the file. A discard counts as a write of zeros.

    QEMU counts its entries in the superblock with each flush. Those that follow are returned as far
    as they are whole: the one that QEMU was killed at is not. Raises BrokenLog.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(SUPERBLOCK.size).ljust(SUPERBLOCK.size, b"\0")
        magic, version, counted, sector = SUPERBLOCK.unpack(start)
        if (magic, version) != (MAGIC, VERSION):
            raise BrokenLog(f"{path}: no superblock; QEMU writes it with the first flush")
        if sector != SECTOR:
            raise BrokenLog(f"{path}: sectors of {sector} bytes; give QEMU log-sector-size=512")
        entries: list[Entry] = []
        at = SECTOR
        while at + SECTOR <= size and len(entries) < MOST_ENTRIES:
            file.seek(at)
            entry = _entry(file.read(SECTOR), at, size)
            if entry is None:
                break
            entries.append(entry)
            at += SECTOR + _stored(entry)
    if len(entries) < counted:
        found = f"{len(entries)} of {counted} entries are whole"
        raise BrokenLog(f"{path}: {found}; the next should be at byte {at}")
    return tuple(entries)


def force(
    log: Path, entries: Iterable[Entry], is_forced: Callable[[Write, bytes], bool]
) -> tuple[Entry, ...]:
    """Return the entries with those writes forced for which `is_forced(write, first sector)`.

    For a device that is asked to force a write, and does not say so in the log.
    """
    marked: list[Entry] = []
    with log.open("rb") as file:
        for entry in entries:
            if isinstance(entry, Write) and entry.at is not None:
                file.seek(entry.at)
                forced = entry.forced or is_forced(entry, file.read(SECTOR))
                marked.append(replace(entry, forced=forced))
            else:
                marked.append(entry)
    return tuple(marked)


def surviving(entries: Sequence[Entry], cut: CutPoint) -> Plan:
    """Return what a cut leaves on the disk; pure, and the same for the same arguments.

    What is forgotten need not be the newest: the cache writes back in any order. Where two writes
    overlap, an older one is never on the disk over a newer one.
    """
    decide = random.Random(f"{cut.after} {cut.seed}")
    odds = decide.choice(_ODDS)
    flushed = _flushed(entries, cut.after)
    writes: list[Write] = []
    kept = torn = lost = 0
    for number, entry in enumerate(entries[: cut.after + 1]):
        if isinstance(entry, Flush):
            continue
        under_way = number == cut.after
        if number < flushed or (entry.forced and not under_way):
            writes.append(entry)
            continue
        parts = _left_of(entry, odds, decide)
        writes += parts
        sectors = sum(part.sectors for part in parts)
        kept += sectors == entry.sectors
        torn += 0 < sectors < entry.sectors
        lost += sectors == 0
    return Plan(tuple(writes), kept=kept, torn=torn, lost=lost)


def apply(log: Path, writes: Iterable[Write], disk: Path) -> None:
    """Write `writes`, whose data is in `log`, to the file `disk`, in their order."""
    with log.open("rb") as source, disk.open("r+b") as target:
        for write in writes:
            target.seek(write.sector * SECTOR)
            for content in _content(source, write):
                target.write(content)


def cut_points(entries: Sequence[Entry], count: int, areas: Sequence[Area]) -> tuple[CutPoint, ...]:
    """Return `count` cuts, the most telling first; the first few are spread over all of the log.

    By turns: writes to each of the `areas` (under way, and ended but not flushed), flushes (under
    way, and ended), and any entry. When no instant is left they come again, with other losses.
    """
    if not entries or count > MOST_CUTS:
        raise ValueError(f"{count} cuts of {len(entries)} entries")
    kinds = [(f"a write to {area.name}", _writes_to(entries, area)) for area in areas]
    kinds.append(("a flush", _effective_flushes(entries)))
    instants = [_instants(_spread(numbers), what) for what, numbers in kinds]
    instants.append([(after, "any time") for after in _spread(range(len(entries) + 1))])
    cuts: dict[tuple[int, int], CutPoint] = {}
    for seed in range(count):
        for after, why in _by_turns(instants):
            cuts.setdefault((after, seed), CutPoint(after, seed, why))
            if len(cuts) == count:
                return tuple(cuts.values())
    return tuple(cuts.values())


# How a cut treats what was not durable: the part of the writes that are kept, and that are torn.
_ODDS = ((0.0, 0.0), (0.0, 0.3), (0.2, 0.2), (0.5, 0.25), (0.8, 0.1), (1.0, 0.0))


def _entry(sector: bytes, at: int, size: int) -> Entry | None:
    """Return the entry with this header at `at` of a log of `size` bytes, None if not whole."""
    first, sectors, flags, _ = HEADER.unpack_from(sector)
    if flags & ~(FLUSHED | FORCED | DISCARDED):
        return None
    if flags & FLUSHED:
        return Flush() if sectors == 0 else None
    data = None if flags & DISCARDED else at + SECTOR
    entry = Write(first, sectors, data, forced=bool(flags & FORCED))
    return entry if sectors and at + SECTOR + _stored(entry) <= size else None


def _stored(entry: Entry) -> int:
    """Return how many bytes of data follow an entry's header in the log."""
    return 0 if isinstance(entry, Flush) or entry.at is None else entry.sectors * SECTOR


def _flushed(entries: Sequence[Entry], after: int) -> int:
    """Return the number of the last flush that has ended: 0 if there is none."""
    flushes = (number for number in range(after - 1, -1, -1) if entries[number] == Flush())
    return next(flushes, 0)


def _left_of(write: Write, odds: tuple[float, float], decide: random.Random) -> list[Write]:
    """Return the parts of a write that reach the disk."""
    kept, torn = odds
    if write.forced:
        kept, torn = kept + torn, 0.0
    chance = decide.random()
    if chance < kept:
        return [write]
    if chance >= kept + torn:
        return []
    if decide.random() < 0.5:
        return _runs(write, range(decide.randrange(write.sectors + 1)))
    return _runs(write, (number for number in range(write.sectors) if decide.random() < 0.5))


def _runs(write: Write, sectors: Iterable[int]) -> list[Write]:
    """Return `sectors` of a write, counted from 0 and rising, in as few pieces as there are."""
    pieces: list[tuple[int, int]] = []
    for number in sectors:
        if pieces and sum(pieces[-1]) == number:
            first, length = pieces.pop()
            pieces.append((first, length + 1))
        else:
            pieces.append((number, 1))
    return [write.part(first, length) for first, length in pieces]


def _content(log: BinaryIO, write: Write) -> Iterator[bytes]:
    """Yield a write's data. Raises BrokenLog when the log ends before it does."""
    if write.at is not None:
        log.seek(write.at)
    left = write.sectors * SECTOR
    while left > 0:
        length = min(left, CHUNK)
        piece = bytes(length) if write.at is None else log.read(length)
        if len(piece) < length:
            raise BrokenLog(f"{log.name}: {write.sectors} sectors at byte {write.at} are cut off")
        yield piece
        left -= length


def _writes_to(entries: Sequence[Entry], area: Area) -> list[int]:
    return [number for number, entry in enumerate(entries) if area.touched_by(entry)]


def _effective_flushes(entries: Sequence[Entry]) -> list[int]:
    """Return the numbers of the flushes that had something to make durable."""
    pairs = enumerate(pairwise(entries), 1)
    return [number for number, (before, it) in pairs if it == Flush() and before != Flush()]


def _instants(numbers: Iterable[int], what: str) -> list[tuple[int, str]]:
    """Return two instants for each entry: while it is under way, and once it has ended."""
    pairs = (((number, f"during {what}"), (number + 1, f"after {what}")) for number in numbers)
    return [instant for pair in pairs for instant in pair]


def _spread(numbers: Sequence[int]) -> list[int]:
    """Return `numbers` in such an order that any first few lie far apart; one amid them first."""
    width = len(numbers).bit_length()
    order = sorted(range(1, len(numbers) + 1), key=lambda place: f"{place:0{width}b}"[::-1])
    return [numbers[place - 1] for place in order]


def _by_turns(kinds: Sequence[Sequence[tuple[int, str]]]) -> Iterator[tuple[int, str]]:
    for turn in zip_longest(*kinds):
        yield from (instant for instant in turn if instant is not None)
