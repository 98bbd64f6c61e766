"""Where the published tree's files come from. Pure: a port, and what it answers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Found(StrEnum):
    FILE = "file"
    UNCHANGED = "unchanged"  # it still has the etag that was asked with
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of the tree. `age`: the seconds it spent in caches on the way."""

    found: Found
    chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))
    etag: str | None = None
    age: int = 0


class TreeSource(Protocol):
    """The tree by relative paths (`metadata/timestamp.json`): a web server, a directory."""

    def open(self, path: str, etag: str | None) -> AbstractContextManager[TreeFile]:
        """Return the file; chunks are read inside the `with` block, and nobody bounds them.

        Raises TransientError (network), UpdateRejected (a redirect, an unknown encoding).
        """
        ...

    def close(self) -> None:
        """Drop connections. Again: no effect; the next open() makes new ones."""
        ...
