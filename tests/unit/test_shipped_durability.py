"""What single-file and directory write is on the disk before a name leads to it."""

import os
from pathlib import Path

import pytest

from device_agent.modules.shipped.fleetcd_modules import directory, single_file, swap
from tests.unit.test_shipped_cuts import directory_update, file_update


class Disk:
    """Records what is synced and renamed, in order, and does it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Path]] = []
        fsync, replace, exchange = os.fsync, os.replace, swap.exchange

        def synced(descriptor: int) -> None:
            fsync(descriptor)
            self.events.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))

        def replaced(source: Path, target: Path) -> None:
            self.events.append(("from", Path(source)))
            replace(source, target)
            self.events.append(("to", Path(target)))

        def exchanged(one: Path, other: Path) -> bool:
            self.events += [("from", one), ("to", other)]
            return exchange(one, other)

        patch.setattr(os, "fsync", synced)
        patch.setattr(os, "replace", replaced)
        patch.setattr(swap, "exchange", exchanged)

    def position(self, kind: str, path: Path) -> int:
        return self.events.index((kind, path))


def test_a_file_is_synced_before_its_name_and_its_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = file_update(tmp_path, existed=True)
    target = update.place / "sub" / "etc" / "app.conf"
    unfinished = target.with_name(".app.conf.fleetcd-new")
    disk = Disk(monkeypatch)
    single_file.install(update.tree)
    assert (
        disk.position("sync", unfinished)
        < disk.position("from", unfinished)
        < disk.position("to", target)
        < disk.position("sync", target.parent)
    )
    note = update.tree.tmp / "before.json"
    assert (
        disk.position("to", update.tree.tmp / "old")
        < disk.position("to", note)
        < disk.position("from", unfinished)
    )
    assert ("sync", update.tree.tmp) in disk.events[
        disk.position("to", note) : disk.position("from", unfinished)
    ]


def test_a_directory_is_synced_with_all_that_is_in_it_before_it_is_swapped_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = directory_update(tmp_path, existed=True)
    dest = update.place / "sub" / "app"
    aside = dest.with_name(".app.fleetcd-aside")
    disk = Disk(monkeypatch)
    directory.install(update.tree)
    swapped = disk.position("from", aside)
    for name in (".", "both.txt", "lib", "lib/new.txt"):
        assert disk.position("sync", aside / name) < swapped
    assert disk.position("to", update.tree.tmp / "new.json") < swapped
    assert ("sync", dest.parent) in disk.events[swapped:]
