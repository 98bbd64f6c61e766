"""Writes an image into an open slot: only what differs, in whole blocks, with little dirty memory.

The slot is read before it is written: flash reads several times faster than it writes, and an
interrupted write, begun again, finds what it wrote. Whole blocks go past the page cache (O_DIRECT),
which leaves nothing of them dirty. Where that cannot be, pages go to the device from the
first block on and are dropped once they are there: an image never pushes out other programs.
"""

import errno
import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from itertools import cycle, groupby
from types import TracebackType
from typing import TYPE_CHECKING, Self

from device_agent.install.holes import punch
from device_agent.install.worker import Worker

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK = 1024 * 1024  # bytes read and judged at once; where blocks begin is a multiple of it
CHUNK = 16 * 1024  # bytes; the least that is rewritten, an erased page of usual flash
HOLE = 128 * 1024  # bytes; zeros in a row that are worth a command of their own
WINDOW = 32 * 1024 * 1024  # bytes after which what is dirty is synced; a multiple of BLOCK
AHEAD = 2  # blocks that are hashed and written while another is filled
PATIENCE = 8  # blocks in a row without anything in common until only every PATIENCEth is read


class Fate(Enum):
    """What becomes of a range of a block."""

    KEPT = auto()
    ZEROED = auto()
    WRITTEN = auto()


@dataclass(frozen=True, slots=True)
class Span:
    fate: Fate
    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Written:
    """What the slot holds from its start on, and how many bytes of it had to be changed."""

    sha256: str
    length: int
    changed: int


Block = bytearray | mmap.mmap


def spans(new: Block, old: bytearray | None) -> tuple[Span, ...]:
    """Return what to do with each range of the block `new`, in order and without gaps. Pure.

    `old` is what is there, None if that is unknown. Zeros that are too few for a hole are written.
    """
    fates = [_fate(new, old, start) for start in range(0, len(new), CHUNK)]
    found, start = [], 0
    for fate, group in groupby(fates):
        end = min(start + CHUNK * len(list(group)), len(new))
        found.append(Span(_worthwhile(fate, end - start), start, end))
        start = end
    return _joined(found)


def _fate(new: Block, old: bytearray | None, start: int) -> Fate:
    chunk = slice(start, start + CHUNK)
    if old is not None and new[chunk] == old[chunk]:
        return Fate.KEPT
    if new[start]:  # spares most chunks the look at all of their bytes
        return Fate.WRITTEN
    content = new[chunk]
    return Fate.ZEROED if content == bytearray(len(content)) else Fate.WRITTEN


def _worthwhile(fate: Fate, length: int) -> Fate:
    """Return `fate`, or WRITTEN for a few zeros, or an odd end: commands take whole sectors."""
    hole = length >= HOLE and length % CHUNK == 0
    return fate if hole or fate is not Fate.ZEROED else Fate.WRITTEN


def _joined(found: Sequence[Span]) -> tuple[Span, ...]:
    return tuple(
        Span(fate, run[0].start, run[-1].end)
        for fate, group in groupby(found, key=lambda span: span.fate)
        if (run := list(group))
    )


@dataclass(slots=True)
class Curiosity:
    """Decides which blocks are read before they are written: where nothing is the same for long,
    reading costs more than it saves."""

    strange: int = 0  # blocks read in a row that had nothing in common with the image
    wait: int = 0  # blocks that will be written unread before the next is read

    def reads(self) -> bool:
        """Say whether to read the next block."""
        if self.wait:
            self.wait -= 1
            return False
        return True

    def learn(self, *, common: bool) -> None:
        """Take what the block that was read had in common with the image."""
        self.strange = 0 if common else self.strange + 1
        self.wait = PATIENCE - 1 if self.strange >= PATIENCE else 0


class SlotWriter:
    """Writes to `descriptor` (open for reading and writing) from offset `length` on, a multiple of
    BLOCK; `digest` has seen what is before.

    While a block is filled, those before it are hashed in one thread and written in another, where
    `synced` is told length and SHA-256 of what is durably there, whenever a window is full and the
    image goes on: what it is told is never the whole image, which its source has yet to judge.
    Leaving the `with` block ends the threads, once they are done with what came. Everything raises
    OSError, `write` and `finish` also what `synced` raises.
    """

    def __init__(
        self, descriptor: int, length: int, digest: "_Hash", synced: Callable[[int, str], None]
    ) -> None:
        self._length, self._digest, self._synced = length, digest, synced
        self._window = length  # where the window began
        self._slot = OpenSlot(descriptor, length)
        self._hashing, self._writing = Worker(AHEAD), Worker(AHEAD)
        # They begin at a page, as O_DIRECT wants. Workers have all but the one that is filled.
        self._blocks = cycle([mmap.mmap(-1, BLOCK) for _ in range(AHEAD + 1)])
        self._block, self._filled = next(self._blocks), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hashing.close()
        self._writing.close()
        self._slot.leave_direct()

    def write(self, piece: bytes) -> None:
        """Take the next bytes of the image."""
        left = memoryview(piece)
        while left:
            if self._length - self._window >= WINDOW:  # now that there is more: never all of it
                self._claim()
            taken = left[: BLOCK - self._filled]
            self._block[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            left = left[len(taken) :]
            if self._filled == BLOCK:
                self._hashing.take(partial(self._digest.update, self._block))
                self._writing.take(partial(self._slot.settle, self._block))
                self._length += BLOCK
                self._block, self._filled = next(self._blocks), 0

    def finish(self) -> Written:
        """Write the rest, and return once all of it is on the device."""
        self._hashing.wait()
        self._writing.wait()
        rest = bytearray(self._block[: self._filled])
        if rest:
            self._digest.update(rest)
            self._slot.leave_direct()  # the end may be in the middle of a sector
            self._slot.settle(rest)
        self._slot.sync()
        length = self._length + len(rest)
        return Written(self._digest.hexdigest(), length, self._slot.changed)

    def _claim(self) -> None:
        """Have told what came so far, once it is there."""
        self._hashing.wait()
        self._writing.take(partial(self._sync, self._length, self._digest.hexdigest()))
        self._window = self._length

    def _sync(self, length: int, sha256: str) -> None:
        self._slot.sync()
        self._synced(length, sha256)


class OpenSlot:
    """The slot behind a SlotWriter, used by one thread at a time. `changed` are bytes."""

    def __init__(self, descriptor: int, length: int) -> None:
        self._descriptor, self._length = descriptor, length
        self._window = length  # where what may be dirty begins
        self._direct = _reopened(descriptor)
        self._present = bytearray(BLOCK)
        self.changed = 0
        self._curiosity = Curiosity()
        self._holes = True  # until the slot says that it cannot

    def settle(self, block: Block) -> None:
        """Bring the next block to the slot, and start its way to the device."""
        old = self._read(len(block)) if self._curiosity.reads() else None
        found = spans(block, old)
        if old is not None:
            self._curiosity.learn(common=any(span.fate is Fate.KEPT for span in found))
            self._announce(self._length + len(block) + self._curiosity.wait * BLOCK)
        for span in found:
            if span.fate is not Fate.KEPT:
                self._change(block, span)
        # Starts to write what is dirty, without waiting, and drops what was only read.
        os.posix_fadvise(self._descriptor, self._length, len(block), os.POSIX_FADV_DONTNEED)
        self._length += len(block)

    def sync(self) -> None:
        """Return once all that was settled is on the device."""
        os.fsync(self._descriptor)
        length = self._length - self._window
        os.posix_fadvise(self._descriptor, self._window, length, os.POSIX_FADV_DONTNEED)
        self._window = self._length

    def leave_direct(self) -> None:
        """Write through the page cache from now on."""
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None

    def _read(self, length: int) -> bytearray | None:
        """Return what is where the block goes, None where the slot is too short."""
        del self._present[length:]
        count = os.preadv(self._descriptor, [self._present], self._length)
        return self._present if count == length else None

    def _announce(self, offset: int) -> None:
        """Let the kernel read the next block that will be read, while others are written."""
        os.posix_fadvise(self._descriptor, offset, BLOCK, os.POSIX_FADV_WILLNEED)

    def _change(self, block: Block, span: Span) -> None:
        offset = self._length + span.start
        if span.fate is Fate.ZEROED and self._holes:
            self._holes = punch(self._descriptor, offset, span.length)
        if span.fate is Fate.WRITTEN or not self._holes:
            self._put(memoryview(block)[span.start : span.end], offset)
        self.changed += span.length

    def _put(self, left: memoryview, offset: int) -> None:
        while left:
            try:
                count = os.pwrite(self._direct or self._descriptor, left, offset)
            except OSError as error:
                if self._direct is None or error.errno != errno.EINVAL:
                    raise
                self.leave_direct()  # its sectors are larger than our chunks
                continue
            left, offset = left[count:], offset + count


def _reopened(descriptor: int) -> int | None:
    """Return a descriptor that writes past the page cache, None where there is no such thing."""
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return None
