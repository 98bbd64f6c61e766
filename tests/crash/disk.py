"""What a power cut leaves of a directory: all that was written, what was synced, or a mix of both.

A disk owes its owner only what was synced: a file's bytes by fsync of the file, a new name, a new
directory or a removal by fsync of the directory. Whatever came later is there, is not there, or is
half there; halves are whole sectors. So an image of the directory is taken in three ways (`Loss`).

SQLite writes by itself, past the calls that can be watched here. Its files count as synced when a
transaction ends, if the connection says that it does so (`PRAGMA synchronous`), and when it is
closed; a cut inside a commit leaves any of the log's new sectors (instants.py), one inside the
checkpoint at the end any of the database's (test_lost_writes_model.py). Modules are taken to sync
what they wrote before a call ends. Not modelled: disks that say they have synced and have not, and
bytes that rot.
"""

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.crash.scenarios import SECTOR

SEED = "fleetcd"  # of every mix; a run is the same each time
JOURNAL = ("journal.db", "journal.db-wal")
# The index of SQLite's log is made anew by the first to open it; the reserve holds nothing.
_NOT_NEEDED = ("journal.db-shm", "journal.db.reserve")


class Loss(StrEnum):
    """What becomes of the writes that were not synced."""

    KEPT = "kept"
    LOST = "lost"
    MIXED = "mixed"  # each sector and each name as the coin falls


@dataclass(frozen=True, slots=True)
class Image:
    """A directory's content: files by their path, and the paths of directories."""

    files: tuple[tuple[str, bytes], ...]
    directories: tuple[str, ...]

    def write_to(self, root: Path) -> None:
        root.mkdir()
        for directory in self.directories:
            (root / directory).mkdir()
        for name, content in self.files:
            (root / name).write_bytes(content)


Names = Mapping[str, int]  # what a directory holds, as inode numbers


class Disk:
    """Watches the directory `root`. What lies there in the beginning counts as synced.

    Files and directories are known by their inode numbers, as a rename takes its content along.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._contents: dict[int, bytes] = {}  # of files, as synced
        self._names: dict[int, Names] = {}  # of directories, as synced
        self._folders = {root.stat().st_ino}
        self._held: list[int] = []  # what is open keeps its inode number to itself
        self._pool: dict[bytes, bytes] = {}  # equal contents are kept once
        self._journal: dict[str, bytes] = {}
        self.sync_all()
        self.journal_synced()

    def close(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)

    def synced(self, descriptor: int) -> None:
        """Note that the file or directory behind `descriptor` is on the disk from now on."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        inode = os.fstat(descriptor).st_ino
        self._held.append(os.dup(descriptor))
        if path.is_dir():
            self._names[inode] = self._listed(path)
        else:
            self._contents[inode] = self._kept(path.read_bytes())

    def sync_all(self) -> None:
        """Note that everything is on the disk, as after sync(2)."""
        for folder, _, names in os.walk(self.root):
            for path in (Path(folder), *(Path(folder, name) for name in names)):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                self.synced(descriptor)
                os.close(descriptor)

    def journal_files(self) -> dict[str, bytes]:
        """Return the bytes of SQLite's files as they are."""
        found = (name for name in JOURNAL if (self.root / name).exists())
        return {name: self._kept((self.root / name).read_bytes()) for name in found}

    def journal_synced(self) -> None:
        self._journal = self.journal_files()

    def image(self, loss: Loss, number: int, journal: Mapping[str, bytes] | None = None) -> Image:
        """Return what lies there after a cut now; `number` decides how the coins fall.

        `journal` are SQLite's files, if they are to be others than `loss` makes them.
        """
        coins = random.Random(f"{SEED}/{number}")
        files: dict[str, bytes] = {}
        directories: list[str] = []
        inode = self.root.stat().st_ino
        for name, each, present in self._below("", inode, self.root, loss, coins):
            if each in self._folders:
                directories.append(name)
            else:
                files[name] = self._content(each, present, loss, coins)
        if journal is None:
            journal = self.journal_files() if loss is Loss.KEPT else self._journal
        return Image(tuple(sorted({**files, **journal}.items())), tuple(directories))

    def _below(
        self, prefix: str, inode: int, present: Path | None, loss: Loss, coins: random.Random
    ) -> Iterator[tuple[str, int, Path | None]]:
        """Yield what the directory `inode` holds after the cut, and where it lies now, if it does.

        Directories come before what they hold.
        """
        before, now = self._names.get(inode, {}), self._listed(present) if present else {}
        for name in sorted(before.keys() | now.keys()):
            chosen = _chosen(before.get(name), now.get(name), loss, coins)
            if chosen is None or name in (*JOURNAL, *_NOT_NEEDED):
                continue
            there = present / name if present and now.get(name) == chosen else None
            yield prefix + name, chosen, there
            if chosen in self._folders:
                yield from self._below(f"{prefix}{name}/", chosen, there, loss, coins)

    def _content(self, inode: int, present: Path | None, loss: Loss, coins: random.Random) -> bytes:
        synced = self._contents.get(inode, b"")
        if loss is Loss.LOST or present is None:
            return synced
        now = self._kept(present.read_bytes())
        if loss is Loss.KEPT or now == synced:
            return now
        size = len(coins.choice((now, synced)))
        sectors = (
            coins.choice((now, synced))[at : at + SECTOR].ljust(SECTOR, b"\0")
            for at in range(0, size, SECTOR)
        )
        return self._kept(b"".join(sectors)[:size])

    def _listed(self, folder: Path) -> Names:
        with os.scandir(folder) as found:
            entries = [(one.name, one.inode(), one.is_dir(follow_symlinks=False)) for one in found]
        self._folders.update(inode for _, inode, is_folder in entries if is_folder)
        return {name: inode for name, inode, _ in entries}

    def _kept(self, content: bytes) -> bytes:
        return self._pool.setdefault(content, content)


def _chosen(before: int | None, now: int | None, loss: Loss, coins: random.Random) -> int | None:
    match loss:
        case Loss.KEPT:
            return now
        case Loss.LOST:
            return before
        case Loss.MIXED:
            return now if before == now else coins.choice((before, now))
