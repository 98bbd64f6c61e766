"""How long a publish takes, for a whole tree and for one fleet of it.

The limit is the medium: the files that the publish wrote, written again plainly (no temporary
names, no signatures) and flushed as often.
"""

import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.adapters.durable import (
    BATCH,
    FEW,
    Medium,
    flush_directory,
    flush_file_system,
    make_directory,
)
from reconciler.adapters.tuf_found import found_tree
from reconciler.adapters.tuf_published import read_release_files
from reconciler.adapters.tuf_roles import RoleKeys
from reconciler.adapters.tuf_signing import add_descriptor
from reconciler.adapters.tuf_tree import DirectoryTree
from reconciler.ports import Publication
from schemas.canonical import sha256_hex, shard_of
from schemas.wire.decode import encode
from schemas.wire.shard import Shard, ShardEntry
from tests.bench.figures import Figure, Peer, Scale, seconds
from tests.support.documents import NOW
from tests.support.publications import descriptor_of, manifest_of, status_of
from tests.support.signed_tree import new_keys

FLEETS = {Scale.FULL: (1, 100, 10_000), Scale.TINY: (1, 3)}
REPEATS = {Scale.FULL: 5, Scale.TINY: 1}
REPEATS_OF_MANY, MANY = 3, 1000

RELEASE = descriptor_of("1")

Files = list[tuple[Path, bytes]]


@dataclass
class RecordingDisk(Medium):
    """The disk of production, remembering what was written and flushed together."""

    calls: list[Files] = field(default_factory=list)

    def write(self, files: Iterable[tuple[Path, bytes]]) -> None:
        remaining = iter(files)
        while batch := list(itertools.islice(remaining, BATCH)):
            self.calls.append(batch)
            super().write(batch)


@dataclass(frozen=True, slots=True)
class _Timed:
    """Seconds of one publish and of its bytes written plainly."""

    publish: float
    plain: float
    written: int  # bytes
    files: int


def publish(scale: Scale, directory: Path) -> tuple[Figure, ...]:
    """Publish trees of several sizes: first the whole, then a change of one fleet."""
    keys = new_keys()
    figures: list[Figure] = []
    for fleets in FLEETS[scale]:
        repeats = REPEATS_OF_MANY if fleets >= MANY else REPEATS[scale]
        documents = _all_documents(fleets)
        runs = [
            _published(documents, keys, directory / f"{fleets}-{number}")
            for number in range(repeats)
        ]
        first, change = zip(*runs, strict=True)
        figures += _figures(f"publish, {_count(fleets)}, all new", first)
        figures += _figures(f"publish, {_count(fleets)}, one changed", change)
    return tuple(figures)


def _count(fleets: int) -> str:
    return "1 fleet" if fleets == 1 else f"{fleets:,} fleets"


def _figures(name: str, runs: tuple[_Timed, ...]) -> tuple[Figure, ...]:
    what = f"the same {runs[0].files:,} files, {runs[0].written / 1e6:.2f} MB, written plainly"
    plain = Peer(what, tuple(run.plain * 1e3 for run in runs))
    return (Figure(name, "ms", tuple(run.publish * 1e3 for run in runs), plain),)


def _all_documents(fleets: int) -> Mapping[str, bytes]:
    """Return what `fleets` fleets of one device each publish, all on one release."""
    documents = {f"releases/{RELEASE.name}/{RELEASE.version}.json": encode(RELEASE)}
    shards: dict[str, dict[str, ShardEntry]] = {}
    for name in (f"fleet-{number:05}" for number in range(fleets)):
        documents |= _documents(name, 1)
        key = "sha256:" + sha256_hex(name.encode())
        shards.setdefault(shard_of(key), {})[key] = ShardEntry(f"in-{name}", name, {"in": name})
    documents |= {f"devices/{name}.json": encode(Shard(of)) for name, of in shards.items()}
    return documents


def _documents(fleet: str, generation: int) -> Mapping[str, bytes]:
    return {
        f"fleets/{fleet}.json": encode(manifest_of(fleet, generation, RELEASE)),
        f"status/{fleet}.json": encode(status_of(fleet, generation)),
    }


def _published(
    documents: Mapping[str, bytes], keys: RoleKeys, directory: Path
) -> tuple[_Timed, _Timed]:
    root = directory / "tree"
    found_tree(root, keys, Medium(), NOW)
    signed = add_descriptor({}, read_release_files(root), RELEASE, keys.release, NOW)
    disk = RecordingDisk()
    tree = DirectoryTree(root, online=keys.online, timestamp=keys.timestamp, disk=disk)
    tree.take_lease()
    assert not tree.statuses()  # reads what is published, as the reconciler does before it plans
    changed = {**documents, **_documents("fleet-00000", 2)}
    try:
        return (
            _timed(tree, root, Publication(documents, signed), disk),
            _timed(tree, root, Publication(changed, signed), disk),
        )
    finally:
        tree.release_lease()


def _timed(
    tree: DirectoryTree, root: Path, publication: Publication, disk: RecordingDisk
) -> _Timed:
    """Publish to `root`, then write the same files, flushed as often, into a directory beside it
    that had the same directories before."""
    plain = root.with_name("plain")
    for directory in (path for path in root.rglob("*") if path.is_dir()):
        (plain / directory.relative_to(root)).mkdir(parents=True, exist_ok=True)
    disk.calls.clear()
    os.sync()  # neither is to pay for what was written before
    published = seconds(lambda: tree.publish(publication, NOW))
    calls = [[(plain / path.relative_to(root), data) for path, data in call] for call in disk.calls]
    os.sync()
    written = [len(data) for call in calls for _, data in call]
    return _Timed(published, seconds(lambda: _plainly(calls)), sum(written), len(written))


def _plainly(calls: list[Files]) -> None:
    """Write every file in its place; flush files and directories as often as the Medium does."""
    for call in calls:
        for path, data in call:
            make_directory(path.parent)
            with path.open("wb") as file:
                file.write(data)
                if len(call) <= FEW:
                    file.flush()
                    os.fsync(file.fileno())
        if len(call) > FEW:
            flush_file_system(call[0][0].parent)
        for directory in {path.parent for path, _ in call}:
            flush_directory(directory)
