"""A working clone, a published tree and a file: what `fleetcd release add` works with."""

from dataclasses import replace
from pathlib import Path

from reconciler.adapters.dir_release import AddedRelease, NewRelease, add_release
from tests.support.signed_tree import NOW, SignedTree

CONTENT = b"an image, more or less " * 5000


class Workshop:
    """`add` releases the file as kiosk-os@1.0.0, unless `changes` say otherwise."""

    def __init__(self, folder: Path) -> None:
        self.tree = SignedTree(folder / "tree")
        self.clone = folder / "clone"
        self.clone.mkdir()
        self.file = folder / "image"
        self.file.write_bytes(CONTENT)

    def add(self, **changes: object) -> AddedRelease:
        new = NewRelease("kiosk-os", "1.0.0", self.file)
        return add_release(
            replace(new, **changes),  # type: ignore[arg-type]  # fields of NewRelease
            repository=self.clone,
            tree=self.tree.layout.root,
            signers=self.tree.keys.release,
            now=NOW,
        )

    def yaml(self, version: str = "1.0.0") -> Path:
        return self.clone / "releases" / "kiosk-os" / f"{version}.yaml"
