"""Reads one commit whole: every document, every reference, the signed release metadata."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from reconciler.domain.build import Broken, build
from reconciler.domain.build_document import Loaded
from reconciler.domain.desired import Desired
from reconciler.errors import TreeRefused
from reconciler.ports import FleetSource, RepoFile

SIGNED_RELEASES = PurePosixPath("releases/.signed")


@dataclass(frozen=True, slots=True)
class Commit:
    """`releases`: the release roles' signed metadata by file name, as it lies in Git."""

    desired: Desired
    releases: Mapping[str, bytes]


class Loader(Protocol):
    """Reads YAML strictly; remembers what it has read by blob."""

    def load(
        self,
        files: Iterable[RepoFile],
        read: Callable[[Iterable[str]], Mapping[str, bytes]],
    ) -> Loaded: ...


class CommitReader:
    def __init__(self, source: FleetSource, loader: Loader) -> None:
        self._source, self._loader = source, loader

    def read(self, commit: str) -> Commit:
        """Return the commit. Raises TreeRefused with all that is wrong with it, CommitRefused,
        Unavailable."""
        files = self._source.files(commit)
        loaded = self._loader.load(files, self._source.read)
        desired = build(loaded, commit=commit, committed_at=self._source.committed_at(commit))
        if isinstance(desired, Broken):
            raise TreeRefused(desired.problems)
        return Commit(desired, self._signed_releases(files))

    def _signed_releases(self, files: tuple[RepoFile, ...]) -> Mapping[str, bytes]:
        signed = [
            file
            for file in files
            if PurePosixPath(file.path).parent == SIGNED_RELEASES and file.path.endswith(".json")
        ]
        contents = self._source.read(file.blob for file in signed)
        return {PurePosixPath(file.path).name: contents[file.blob] for file in signed}
