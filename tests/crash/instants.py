"""The moments at which power may fail, or the agent be killed, and what lies on the disk then."""

import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_agent.install import slot_writer
from device_agent.journal import Journal
from tests.crash.disk import SEED, Disk, Image, Loss
from tests.crash.scenarios import SECTOR

_SYNCHRONOUS_FULL = 2  # sqlite.org/pragma.html: the log is synced at the end of each transaction


class Instants:
    """Remembers an image of the disk at each instant, once, in each of the ways of `losses`."""

    def __init__(self, disk: Disk | None = None, losses: tuple[Loss, ...] = ()) -> None:
        self.disk, self.passed = disk, 0
        self._losses = losses
        self._images: dict[Image, None] = {}

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(self._images)

    def here(self) -> None:
        self.passed += 1
        for loss in self._losses if self.disk else ():
            self._remember(loss)

    def close(self) -> None:
        if self.disk:
            self.disk.close()

    def sync_all(self) -> None:
        """All that was written is on the disk: a module's own care, or a clean shutdown."""
        if self.disk:
            self.disk.sync_all()

    def journal_files(self) -> dict[str, bytes]:
        return self.disk.journal_files() if self.disk else {}

    def journal_synced(self) -> None:
        if self.disk:
            self.disk.journal_synced()

    def cut_in_commit(self, before: Mapping[str, bytes]) -> None:
        """Power fails while SQLite writes its log: any of the new sectors may be there."""
        if not self.disk or Loss.MIXED not in self._losses:
            return
        coins = random.Random(f"{SEED}/log/{self.passed}")
        now = self.disk.journal_files()
        self._remember(Loss.LOST, {**now, **torn(before, now, coins)})

    def _remember(self, loss: Loss, journal: Mapping[str, bytes] | None = None) -> None:
        assert self.disk
        image = self.disk.image(loss, self.passed, journal)
        self._images.setdefault(image)


def torn(
    before: Mapping[str, bytes], now: Mapping[str, bytes], coins: random.Random
) -> dict[str, bytes]:
    """Return SQLite's files with some of the sectors that differ, and without the others."""
    mixed = {}
    for name, new in now.items():
        old = before.get(name, b"").ljust(len(new), b"\0")
        sectors = range(0, len(new), SECTOR)
        mixed[name] = b"".join(coins.choice((old, new))[at : at + SECTOR] for at in sectors)
    return mixed


class CrashingJournal(Journal):
    """An instant before, inside and after each transaction. The one before comes after the last
    effect of the state that ends, and the row of the next is not there yet."""

    instants: Instants

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.instants.here()
        before = self.instants.journal_files()
        with super()._transaction():
            yield
            self.instants.here()
        if self._db.execute("PRAGMA synchronous").fetchone()[0] >= _SYNCHRONOUS_FULL:
            self.instants.cut_in_commit(before)
            self.instants.journal_synced()
        self.instants.here()


@contextmanager
def watched(instants: Instants) -> Iterator[None]:
    """Tell the disk what our own code syncs, with an instant before each time.

    The trees' own files are synced one after the other, all written before: one instant for them.
    Slots are written a sector at once and synced after two, so that a killed agent leaves half of
    an image, too, and an interrupted download goes on in the middle. No block comes while another
    is written, so that each run has the same instants.
    """
    disk, real = instants.disk, os.fsync
    if disk is None:
        yield
        return

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(disk.root):
            inside = path.relative_to(disk.root).parts
            if "tree" not in inside[:-1]:
                instants.here()
            disk.synced(descriptor)
        real(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        for size, sectors in (("CHUNK", 1), ("BLOCK", 1), ("WINDOW", 2)):
            patch.setattr(slot_writer, size, sectors * SECTOR)
        patch.setattr(slot_writer, "AHEAD", 0)
        yield
