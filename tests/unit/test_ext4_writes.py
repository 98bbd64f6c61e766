"""What ext4 forces, told by its bytes. The filesystem here is made by mkfs.ext4 (e2fsprogs)."""

import subprocess
from pathlib import Path

import pytest

from tests.qemu.block_log import SECTOR, Area, Write
from tests.qemu.ext4_writes import JOURNAL_HEADER, JOURNAL_MAGIC, forced_by_ext4, journal_of

START = 2048  # sector of a disk that the filesystem begins at
JOURNAL = Area("the journal", START + 1000, 100)
IS_FORCED = forced_by_ext4(START, JOURNAL)


def journal_block(kind: int) -> bytes:
    return JOURNAL_HEADER.pack(JOURNAL_MAGIC, kind).ljust(SECTOR, b"\0")


@pytest.mark.parametrize(
    ("kind", "forced"),
    [
        pytest.param(1, False, id="descriptor"),
        pytest.param(2, True, id="commit"),
        pytest.param(3, True, id="superblock of version 1"),
        pytest.param(4, True, id="superblock of version 2"),
        pytest.param(5, False, id="revocation"),
    ],
)
def test_of_the_journal_commits_and_superblocks_are_forced(kind: int, forced: bool) -> None:
    assert IS_FORCED(Write(START + 1010, 2, SECTOR), journal_block(kind)) is forced


def test_what_only_looks_like_the_journal_is_not_forced() -> None:
    assert not IS_FORCED(Write(START + 500, 2, SECTOR), journal_block(2))
    other = JOURNAL_HEADER.pack(JOURNAL_MAGIC + 1, 2).ljust(SECTOR, b"\0")
    assert not IS_FORCED(Write(START + 1010, 2, SECTOR), other)


def test_the_superblock_is_forced_alone_or_in_its_block() -> None:
    assert IS_FORCED(Write(START + 2, 2, SECTOR), bytes(SECTOR))
    assert IS_FORCED(Write(START, 8, SECTOR), bytes(SECTOR))
    assert not IS_FORCED(Write(START + 4, 2, SECTOR), bytes(SECTOR))
    assert not IS_FORCED(Write(2, 2, SECTOR), bytes(SECTOR))


@pytest.mark.parametrize("block", [1024, 4096])
def test_the_journal_is_found_where_its_superblock_is(tmp_path: Path, block: int) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-b", str(block), image], check=True, timeout=60)
    journal = journal_of(image, START)
    with image.open("rb") as file:
        file.seek((journal.sector - START) * SECTOR)
        assert IS_FORCED(Write(JOURNAL.sector, 1, SECTOR), file.read(SECTOR))
    assert 4 * 1024 * 1024 <= journal.sectors * SECTOR < image.stat().st_size


def test_a_filesystem_without_a_journal_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(4 * 1024 * 1024)
    argv = ["mkfs.ext4", "-q", "-F", "-O", "^has_journal", str(image)]
    subprocess.run(argv, check=True, timeout=60)
    with pytest.raises(RuntimeError, match="without a journal"):
        journal_of(image, START)
