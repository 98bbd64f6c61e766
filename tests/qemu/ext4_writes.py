"""Which writes of Linux's ext4 are forced, and where its journal lies; for logs of QEMU's NVMe.

QEMU 7.2 drops the mark (FUA) that asks a disk for durability before a write ends, and its log has
no trace of it. Yet ext4 relies on it, without a flush. So such writes are told by what they are.
"""

import struct
from collections.abc import Callable
from pathlib import Path

from tests.qemu.block_log import SECTOR, Area, Write
from tests.qemu.programs import run

SUPERBLOCK = 1024 // SECTOR  # sector of a filesystem that its superblock begins in
_BLOCK_SIZE_AT = 24  # bytes into the superblock (s_log_block_size)
JOURNAL_HEADER = struct.Struct(">II")  # magic, kind of block (Linux, fs/jbd2: journal_header_s)
JOURNAL_MAGIC = 0xC03B3998
COMMIT, JOURNAL_SUPERBLOCKS = 2, (3, 4)


def forced_by_ext4(filesystem: int, journal: Area) -> Callable[[Write, bytes], bool]:
    """Return what block_log.force() asks, for a filesystem that begins at sector `filesystem`.

    Forced are the commit record of a transaction, the journal's superblock and the filesystem's.
    """

    def is_forced(write: Write, start: bytes) -> bool:
        if journal.touched_by(write):
            magic, kind = JOURNAL_HEADER.unpack_from(start)
            return magic == JOURNAL_MAGIC and kind in (COMMIT, *JOURNAL_SUPERBLOCKS)
        return Area("superblock", filesystem + SUPERBLOCK, 1).touched_by(write)

    return is_forced


def journal_of(image: Path, filesystem: int) -> Area:
    """Return where the journal of the filesystem in `image` lies, on the disk that has it at sector
    `filesystem`: from its first to its last block; others may lie between. Raises RuntimeError when
    it has none."""
    blocks = [int(word) for word in run("debugfs", "-R", "blocks <8>", image).split()]
    if not any(blocks):
        raise RuntimeError(f"{image}: a filesystem without a journal")
    with image.open("rb") as file:
        file.seek(SUPERBLOCK * SECTOR + _BLOCK_SIZE_AT)
        (power,) = struct.unpack("<I", file.read(4))
    sectors = 1024 // SECTOR << power  # of a block
    first, last = min(blocks), max(blocks)
    return Area("the journal", filesystem + first * sectors, (last - first + 1) * sectors)
