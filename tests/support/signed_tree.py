"""Small real trees: published as in production, then tampered with as an attacker would."""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata

from reconciler.adapters.dir_layout import Layout
from reconciler.adapters.tuf_found import found_tree
from reconciler.adapters.tuf_published import read_release_files
from reconciler.adapters.tuf_roles import RoleKeys, bin_of, signed_bytes, snapshot_versions
from reconciler.adapters.tuf_signing import add_descriptor
from reconciler.adapters.tuf_tree import DirectoryTree
from reconciler.ports import Publication, Step, no_step
from schemas.wire.decode import encode
from schemas.wire.descriptor import Descriptor

NOW = datetime(2026, 11, 24, 7, 0, 0, tzinfo=UTC)


class QuickDisk:
    """A Disk without fsync: tests that cut no power need not wait for the medium."""

    def write(self, files: Iterable[tuple[Path, bytes]]) -> None:
        for path, data in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            part.write_bytes(data)
            part.replace(path)

    def remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)


def new_keys() -> RoleKeys:
    """Return fresh keys for every role, in memory only."""
    make = CryptoSigner.generate_ed25519
    return RoleKeys((make(),), (make(),), (make(),), online=make(), timestamp=make())


@dataclass(frozen=True)
class _Role:
    path: Path
    signers: tuple[Signer, ...]


class SignedTree:
    """A published tree under `path`: `metadata/`, `targets/`, `artifacts/`.

    Set documents and releases, `publish()`, and give `root` (bytes) to the client under test.
    """

    def __init__(self, path: Path, *, keys: RoleKeys | None = None, now: datetime = NOW) -> None:
        self.keys, self.now, self.layout = keys or new_keys(), now, Layout(path)
        self.root = found_tree(path, self.keys, QuickDisk(), now)
        self.documents: dict[str, bytes] = {}
        self.releases: dict[str, bytes] = {}
        self.publisher = self.writer()

    def writer(self, *, step: Step = no_step) -> DirectoryTree:
        """Return another writer on the same tree, as a second process would be."""
        return DirectoryTree(
            self.layout.root,
            online=self.keys.online,
            timestamp=self.keys.timestamp,
            disk=QuickDisk(),
            step=step,
        )

    def set(self, path: str, document: object) -> None:
        """Put a document (bytes, or a wire dataclass) at target `path` with the next publish."""
        self.documents[path] = document if isinstance(document, bytes) else encode(document)

    @classmethod
    def reopen(cls, tree: "SignedTree") -> "SignedTree":
        """Return the same tree with a writer that knows nothing yet, as after a restart."""
        again = copy(tree)
        again.documents, again.releases = dict(tree.documents), dict(tree.releases)
        again.publisher = again.writer()
        return again

    def release(
        self,
        descriptor: Descriptor,
        *,
        blob: bytes | None = None,
        signers: tuple[Signer, ...] | None = None,
        seen: Mapping[str, bytes] | None = None,
    ) -> None:
        """Sign `descriptor` with the release keys; `blob` goes to `artifacts/` for its first one.

        `seen` is what the signer sees of the published release files; by default all.
        """
        published = read_release_files(self.layout.root) if seen is None else seen
        self.releases |= add_descriptor(
            self.releases, published, descriptor, signers or self.keys.release, self.now
        )
        self.set(f"releases/{descriptor.name}/{descriptor.version}.json", descriptor)
        if blob is not None:
            QuickDisk().write([(self.layout.artifact(descriptor.artifacts[0].sha256), blob)])

    def publish(self, now: datetime | None = None) -> bool:
        """Publish what was set. The writer gives its lease back, so that others can follow."""
        self.now = now or self.now
        publication = Publication(dict(self.documents), dict(self.releases))
        try:
            return self.publisher.publish(publication, self.now)
        finally:
            self.publisher.release_lease()

    def refresh_timestamp(self, now: datetime) -> None:
        self.publisher.refresh_timestamp(now)

    # Reading and tampering

    def signed(self, role: str) -> Any:
        """Return the signed part of `role` as it is in force."""
        return Metadata[Any].from_file(str(self.file(role))).signed

    def file(self, role: str) -> Path:
        """Return the metadata file of `role` that is in force."""
        return self._role(role).path

    def document(self, path: str) -> Path:
        """Return the file of the published document at target `path`."""
        role = f"releases-{path.split('/')[1]}" if path.startswith("releases/") else bin_of(path)
        return self.layout.target(path, self.signed(role).targets[path].hashes["sha256"])

    def edit(
        self,
        role: str,
        change: Callable[[Any], None],
        *,
        signers: tuple[Signer, ...] | None = None,
    ) -> None:
        """Let `change` alter the signed part of `role` in place, and sign it again.

        `signers` default to the role's own: a stolen key. An empty tuple leaves it unsigned. The
        version is not raised and nothing above is adapted; `change` and further edits do that.
        """
        found = self._role(role)
        signed = Metadata[Any].from_file(str(found.path)).signed
        change(signed)
        used = found.signers if signers is None else signers
        found.path.write_bytes(signed_bytes(signed, used))

    def flip(self, path: Path, *, at: int = -10) -> None:
        """Flip one bit of a file."""
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(bytes(data))

    def copy_of(self) -> Mapping[Path, bytes]:
        """Return every file: an old copy that an attacker can play back with `play_back`."""
        files = (path for path in self.layout.root.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files}

    def play_back(self, files: Mapping[Path, bytes]) -> None:
        for path, data in files.items():
            path.write_bytes(data)

    def _role(self, role: str) -> _Role:
        keys, layout = self.keys, self.layout
        if role == "timestamp":
            return _Role(layout.timestamp, (keys.timestamp,))
        stamp = Metadata[Any].from_file(str(layout.timestamp)).signed
        if role == "root":
            newest = max(
                (layout.root / "metadata").glob("*.root.json"),
                key=lambda path: int(path.name.partition(".")[0]),
            )
            return _Role(newest, keys.root)
        snapshot_file = layout.metadata("snapshot", stamp.snapshot_meta.version)
        if role == "snapshot":
            return _Role(snapshot_file, (keys.online,))
        versions = snapshot_versions(Metadata[Any].from_file(str(snapshot_file)).signed)
        path = layout.metadata(role, versions[role])
        if role == "targets":
            return _Role(path, keys.targets)
        if role == "releases" or role.startswith("releases-"):
            return _Role(path, keys.release)
        return _Role(path, (keys.online,))
