"""The power fails, or the disk is full, at every place of a publish: readers never see a mix."""

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from reconciler.adapters.durable import Disk, Medium
from reconciler.adapters.tuf_tree import PUBLISH_STEPS, DirectoryTree
from reconciler.errors import Unavailable
from reconciler.ports import Publication, Step, no_step
from tests.support.publications import descriptor_of, manifest_of, status_of
from tests.support.signed_tree import NOW, QuickDisk, SignedTree
from tests.support.tuf_client import StockClient

V1, V2 = descriptor_of("1.0.0"), descriptor_of("2.0.0")
RENEWAL = NOW + timedelta(days=61)  # online metadata is renewed by a publish at this time
PAIR = ("fleets/shop.json", "status/shop.json")


class PowerCut(BaseException):
    """Not an Exception: nothing in the code under test may take it for an error."""


class Scenario:
    """A tree that publishes generation 1, and the publication of generation 2."""

    def __init__(self, path: Path) -> None:
        self.tree = SignedTree(path / "tree")
        self.tree.release(V1)
        self._set(1)
        self.tree.publish()
        self.old = [self.tree.documents[path] for path in PAIR]
        self.tree.release(V2)
        self._set(2)
        self.new = [self.tree.documents[path] for path in PAIR]
        self.publication = Publication(dict(self.tree.documents), dict(self.tree.releases))

    def _set(self, generation: int) -> None:
        self.tree.set("fleets/shop.json", manifest_of("shop", generation, V1))
        self.tree.set("status/shop.json", status_of("shop", generation))

    def writer(
        self, root: Path, *, disk: Disk | None = None, step: Step = no_step
    ) -> DirectoryTree:
        keys = self.tree.keys
        return DirectoryTree(
            root, online=keys.online, timestamp=keys.timestamp, disk=disk or QuickDisk(), step=step
        )

    def client(self, root: Path) -> StockClient:
        return StockClient(root, self.tree.root, root.parent / "memory")

    def copy(self, place: Path) -> Path:
        shutil.copytree(self.tree.layout.root, place / "tree")
        return place / "tree"


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Scenario:
    return Scenario(tmp_path_factory.mktemp("publish"))


def published(root: Path) -> dict[str, bytes]:
    """Return every file that a reader could ask for."""
    files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".part")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def uninterrupted(scenario: Scenario, place: Path, now: datetime) -> dict[str, bytes]:
    root = scenario.copy(place)
    scenario.writer(root).publish(scenario.publication, now)
    return published(root)


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


class _CutAtFile:
    """A disk that stops with `failure` before its file number `at`, whichever step writes it."""

    def __init__(self, at: int, failure: BaseException | None) -> None:
        self.at, self.failure, self.written = at, failure, list[Path]()

    def write(self, files: Iterable[tuple[Path, bytes]]) -> None:
        for path, data in files:
            if self.failure and len(self.written) == self.at:
                raise self.failure
            QuickDisk().write([(path, data)])
            self.written.append(path)

    def remove(self, paths: Iterable[Path]) -> None:
        QuickDisk().remove(paths)


def cut_before(name: str) -> Step:
    def step(reached: str) -> None:
        if reached == name:
            raise PowerCut(name)

    return step


@pytest.mark.parametrize("name", PUBLISH_STEPS)
def test_power_that_fails_at_a_named_step_loses_and_doubles_nothing(
    scenario: Scenario, tmp_path: Path, name: str
) -> None:
    whole = uninterrupted(scenario, _folder(tmp_path, "whole"), RENEWAL)
    root = scenario.copy(_folder(tmp_path, "cut"))
    client = scenario.client(root)
    with pytest.raises(PowerCut):
        writer = scenario.writer(root, step=cut_before(name))
        writer.publish(scenario.publication, RENEWAL)
    writer.release_lease()
    assert client.read(*PAIR, now=NOW) == scenario.old
    assert scenario.writer(root).publish(scenario.publication, RENEWAL)
    assert client.read(*PAIR, now=RENEWAL) == scenario.new
    assert published(root) == whole


@cache
def _file_count() -> int:
    """Return how many files the publication writes: so many places there are to cut at."""
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(Path(folder))
        disk = _CutAtFile(0, None)
        scenario.writer(scenario.tree.layout.root, disk=disk).publish(scenario.publication, NOW)
        return len(disk.written)


@pytest.mark.parametrize("kind", ["power", "full disk"])
def test_a_publish_stopped_before_any_file_is_finished_by_the_next(
    scenario: Scenario, tmp_path: Path, kind: str
) -> None:
    whole = uninterrupted(scenario, _folder(tmp_path, "whole"), NOW)
    failure = PowerCut() if kind == "power" else OSError(errno.ENOSPC, "No space left on device")
    places = _file_count()
    for at in range(places):
        root = scenario.copy(_folder(tmp_path, f"cut-{at}"))
        client = scenario.client(root)
        assert client.read(*PAIR, now=NOW) == scenario.old
        writer = scenario.writer(root, disk=_CutAtFile(at, failure))
        with pytest.raises(PowerCut if kind == "power" else Unavailable):
            writer.publish(scenario.publication, NOW)
        writer.release_lease()
        assert client.read(*PAIR, now=NOW) == scenario.old
        assert scenario.writer(root).publish(scenario.publication, NOW)
        assert client.read(*PAIR, now=NOW) == scenario.new
        assert published(root) == whole
    assert places >= len(PUBLISH_STEPS)


def test_the_same_reconciler_goes_on_when_the_disk_has_room_again(
    scenario: Scenario, tmp_path: Path
) -> None:
    root = scenario.copy(tmp_path)
    disk = _CutAtFile(4, OSError(errno.ENOSPC, "No space left on device", "some/file"))
    writer = scenario.writer(root, disk=disk)
    with pytest.raises(Unavailable, match=r"some/file: No space left.*tree stays as it was"):
        writer.publish(scenario.publication, NOW)
    disk.failure = None
    assert writer.publish(scenario.publication, NOW)
    assert scenario.client(root).read(*PAIR, now=NOW) == scenario.new


class _FailsAfterTheTimestamp:
    """A disk that puts the timestamp in place, and then cannot flush its directory."""

    def write(self, files: Iterable[tuple[Path, bytes]]) -> None:
        written = list(files)
        QuickDisk().write(written)
        if any(path.name == "timestamp.json" for path, _ in written):
            raise OSError(errno.EIO, "Input/output error")

    def remove(self, paths: Iterable[Path]) -> None:
        QuickDisk().remove(paths)


def test_a_publish_that_failed_after_its_last_step_is_not_taken_for_another_writers(
    scenario: Scenario, tmp_path: Path
) -> None:
    root = scenario.copy(tmp_path)
    writer = scenario.writer(root, disk=_FailsAfterTheTimestamp())
    with pytest.raises(Unavailable, match="Input/output error"):
        writer.publish(scenario.publication, NOW)
    assert writer.publish(scenario.publication, NOW) is False
    assert scenario.client(root).read(*PAIR, now=NOW) == scenario.new


_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate"}


class _Watch:
    """Sees every file that Python opens for writing or renames below `root`, and in which step."""

    def __init__(self) -> None:
        self.root, self.step, self.seen = "", "", set[tuple[str, str]]()
        sys.addaudithook(self._hook)  # can never be taken away; an empty root silences it

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.root or event not in _EVENTS:
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""
        if not path.startswith(self.root):
            return
        flags = arguments[2] if event == "open" and isinstance(arguments[2], int) else os.O_WRONLY
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.seen.add((self.step, path.removeprefix(self.root)))

    def reached(self, name: str) -> None:
        self.step = name


def test_every_write_lies_in_a_named_step_and_every_step_writes(
    scenario: Scenario, tmp_path: Path
) -> None:
    watch = _Watch()
    root = scenario.copy(tmp_path)
    writer = scenario.writer(root, disk=Medium(), step=watch.reached)
    writer.take_lease()
    watch.root = f"{root}/"
    try:
        writer.publish(scenario.publication, RENEWAL)
    finally:
        watch.root = ""
    homes: dict[str, set[str]] = {}
    for step, path in watch.seen:
        homes.setdefault(step, set()).add(_kind_of(path))
    assert homes == {
        "documents": {"targets"},
        "releases": {"releases"},
        "bins": {"bin"},
        "assignments": {"assignments"},
        "snapshot": {"snapshot"},
        "timestamp": {"timestamp"},
    }
    assert set(homes) == set(PUBLISH_STEPS)


def _kind_of(path: str) -> str:
    folder, _, name = path.partition("/")
    if folder == "targets":
        return folder
    role = name.strip(".").removesuffix(".part").removesuffix(".json").split(".")[-1]
    return role.split("-")[0]
