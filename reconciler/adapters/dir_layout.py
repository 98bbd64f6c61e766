"""Where things lie in a published tree: a directory that any web server can serve."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

METADATA_LIMIT = 8 * 1024 * 1024  # bytes of one metadata file that are read back


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths in the tree at `root`. Locks lie beside the tree, because the tree is served."""

    root: Path

    @property
    def timestamp(self) -> Path:
        """Return the one file that is ever replaced: what it names is the tree."""
        return self.root / "metadata" / "timestamp.json"

    def metadata(self, role: str, version: int) -> Path:
        return self.root / "metadata" / f"{version}.{role}.json"

    def target(self, path: str, sha256: str) -> Path:
        """Return the content-addressed place of target `path`, as TUF clients ask for it."""
        pure = PurePosixPath(path)
        return self.root / "targets" / pure.parent / f"{sha256}.{pure.name}"

    def artifact(self, sha256: str) -> Path:
        return self.root / "artifacts" / sha256

    @property
    def lease(self) -> Path:
        return self.root.with_name(f"{self.root.name}.lease")

    @property
    def swap(self) -> Path:
        """Return the lock held while `timestamp.json` is replaced."""
        return self.root.with_name(f"{self.root.name}.swap")


def read_limited(path: Path, limit: int = METADATA_LIMIT) -> bytes:
    """Return the bytes of `path`. Raises OSError, also for a file longer than `limit`."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"{path} is longer than {limit} bytes")
    return data
