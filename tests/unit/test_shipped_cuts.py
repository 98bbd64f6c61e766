"""single-file and directory, killed after every change that they make to the disk."""

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agent.modules.shipped.fleetcd_modules import directory, single_file, swap
from device_agent.modules.shipped.fleetcd_modules.protocol import Tree
from tests.support.shipped_modules import (
    ShippedModule,
    content_of,
    killed_at_every_change,
)

Call = Callable[[Tree], None]


def archive(content: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@dataclass(frozen=True, slots=True)
class Update:
    """One update, on a device of its own. `place` is all that it may touch."""

    place: Path
    tree: Tree
    install: Call
    rollback: Call
    cleanup: Call

    def call(self, name: str) -> None:
        calls = {"install": self.install, "rollback": self.rollback, "cleanup": self.cleanup}
        calls[name](self.tree)

    @property
    def content(self) -> dict[str, bytes | None] | None:
        return content_of(self.place)


Start = Callable[[Path], Update]


def file_update(root: Path, *, existed: bool) -> Update:
    place = root / "place"
    place.mkdir(parents=True)
    dest = place / "sub" / "etc"
    if existed:
        dest.mkdir(parents=True)
        (dest / "app.conf").write_bytes(b"old")
    payload = {
        "dest_dir": f"{dest}\n".encode(),
        "filename": b"app.conf\n",
        "permissions": b"640\n",
        "app.conf": b"new",
    }
    tree = ShippedModule(root, "single-file", payload).tree
    calls = (single_file.install, single_file.rollback, single_file.cleanup)
    return Update(place, tree, *calls)


def directory_update(root: Path, *, existed: bool) -> Update:
    place = root / "place"
    place.mkdir(parents=True)
    dest = place / "sub" / "app"
    if existed:
        dest.mkdir(parents=True)
        (dest / "old.txt").write_bytes(b"old")
        (dest / "both.txt").write_bytes(b"old")
    new = archive({"both.txt": b"new", "lib/new.txt": b"new"})
    payload = {"dest_dir": f"{dest}\n".encode(), "update.tar": new}
    tree = ShippedModule(root, "directory", payload).tree
    return Update(place, tree, directory.install, directory.rollback, directory.cleanup)


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill loses nothing that was written: fsync counts as an instant, but takes no time."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@pytest.fixture(
    params=[
        pytest.param((file_update, True, True), id="file replaced"),
        pytest.param((file_update, False, True), id="file added"),
        pytest.param((directory_update, True, True), id="directory replaced"),
        pytest.param((directory_update, False, True), id="directory added"),
        pytest.param((directory_update, True, False), id="directory replaced by two renames"),
    ]
)
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Start:
    make, existed, can_exchange = request.param
    if not can_exchange:
        monkeypatch.setattr(swap, "exchange", lambda _one, _other: False)
    return lambda root: make(root, existed=existed)


def outcomes(start: Start, root: Path) -> tuple[object, object]:
    """Return what is there without the update, and after the whole of it."""
    update = start(root)
    old = update.content
    update.install(update.tree)
    update.cleanup(update.tree)
    assert update.content != old
    return old, update.content


def started(start: Start, root: Path, *before: str) -> Callable[[int], Update]:
    def start_number(number: int) -> Update:
        update = start(root / str(number))
        for call in before:
            update.call(call)
        return update

    return start_number


@dataclass(frozen=True, slots=True)
class Kill:
    """A call that is killed, the calls before it, and those after it, which end in one state."""

    before: tuple[str, ...]
    killed: str
    after: tuple[str, ...]
    installed: bool


@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(Kill((), "install", ("rollback", "rollback"), False), id="install, undone"),
        pytest.param(Kill((), "install", ("install", "install"), True), id="install, repeated"),
        pytest.param(Kill(("install",), "rollback", ("rollback",), False), id="rollback, repeated"),
        pytest.param(Kill(("install",), "cleanup", (), True), id="cleanup, repeated"),
    ],
)
def test_killed_anywhere_it_ends_wholly_old_or_wholly_new(
    kill: Kill, start: Start, tmp_path: Path
) -> None:
    outcome = outcomes(start, tmp_path / "whole")[kill.installed]
    kills = 0
    for update in killed_at_every_change(
        started(start, tmp_path, *kill.before), lambda update: update.call(kill.killed)
    ):
        kills += 1
        for call in (*kill.after, "cleanup"):
            update.call(call)
        assert update.content == outcome
    assert kills > 3 or kill.killed == "cleanup", "there was next to nothing to kill it at"


def test_the_destination_is_never_missing_nor_half(tmp_path: Path) -> None:
    """With the exchange of names, whenever the kill comes, a reader finds the one or the other."""
    old = {"old.txt": b"old", "both.txt": b"old"}
    new = {"both.txt": b"new", "lib": None, "lib/new.txt": b"new"}
    for update in killed_at_every_change(
        started(lambda root: directory_update(root, existed=True), tmp_path),
        lambda update: update.install(update.tree),
    ):
        assert content_of(update.place / "sub" / "app") in (old, new)


def test_the_file_is_never_missing_nor_half(tmp_path: Path) -> None:
    for update in killed_at_every_change(
        started(lambda root: file_update(root, existed=True), tmp_path),
        lambda update: update.install(update.tree),
    ):
        assert (update.place / "sub" / "etc" / "app.conf").read_bytes() in (b"old", b"new")


def test_cleanup_alone_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    """A download's or an install's failure may be followed by no rollback at all."""
    for update in killed_at_every_change(
        started(lambda root: file_update(root, existed=True), tmp_path),
        lambda update: update.install(update.tree),
    ):
        update.cleanup(update.tree)
        assert [path.name for path in (update.place / "sub" / "etc").iterdir()] == ["app.conf"]
