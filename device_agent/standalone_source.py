"""Where an update by hand comes from: a file, standard input, or an address (standalone_http).

Size and digest are known to nobody beforehand: the artifact's own checksums, and its signature,
decide about the bytes.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from device_agent.artifact.reader import Artifact, Header, TrustedKey
from device_agent.errors import TransientError, UpdateRejected
from device_agent.fetch.rejections import rejected
from schemas.refusal import Code
from schemas.wire.descriptor import Artifact as DescribedArtifact
from schemas.wire.report import FailureClass

if TYPE_CHECKING:
    from device_agent.fetch.http import Network

CHUNK: Final = 128 * 1024  # bytes
STDIN: Final = "-"
_SCHEMES: Final = ("http://", "https://")


class Observer(Protocol):
    """Somebody who wants to know how far a download is."""

    def __call__(self, done: int, total: int | None) -> None:
        """Take how many bytes are there, and of how many; None: nobody knows."""
        ...

    def end(self) -> None: ...


class Incoming(Protocol):
    """An artifact to be read once. Whatever goes wrong is raised by `chunks`, not before."""

    @property
    def total(self) -> int | None:
        """Its size in bytes, as far as it is known by now."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Yield it in order. Raises TransientError, and UpdateRejected."""
        ...


@dataclass(slots=True)
class FileSource:
    """The artifact in the file `path`."""

    path: Path
    total: int | None = None

    def chunks(self) -> Iterator[bytes]:
        try:
            # Not to wait for the writer of a pipe that somebody named by mistake.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise OSError(errno.EINVAL, "it is no file; use `-` for standard input")
                self.total = found.st_size
                yield from _pieces(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unreadable(str(self.path), error) from error


@dataclass(slots=True)
class StreamSource:
    """The artifact that comes from an open `descriptor`: standard input's is 0."""

    descriptor: int = 0
    total: int | None = None

    def chunks(self) -> Iterator[bytes]:
        try:
            yield from _pieces(self.descriptor)
        except OSError as error:
            raise _unreadable("standard input", error) from error


class OpenedArtifact:
    """An artifact whose description was read and checked, as an ArtifactSource from its first byte.

    What was read of it is kept until then: as much as a header may be long, and a chunk.
    """

    def __init__(self, chunks: Iterator[bytes], keys: tuple[TrustedKey, ...]) -> None:
        """Raises UpdateRejected, and what `chunks` raises."""
        self._kept: list[bytes] = []
        self._chunks = chunks
        self._artifact: Artifact | None = Artifact(self._keeping(), keys=keys)
        self.header: Header = self._artifact.header

    def check(self) -> None:
        """Read it to its end, for an artifact without payload. Raises as stream()."""
        if self._artifact is not None:
            for _ in self._artifact.files():
                pass

    def stream(self, artifact: DescribedArtifact) -> Iterator[bytes]:  # noqa: ARG002 - the port's
        """Yield all of it. Raises what its source raises; UpdateRejected the second time."""
        if self._artifact is None:
            raise rejected(Code.STATE, "an artifact by hand can be read once only")
        self._artifact = None
        kept, self._kept = self._kept, []
        while kept:
            yield kept.pop(0)
        yield from self._chunks

    def _keeping(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._kept.append(chunk)
            yield chunk


@dataclass(frozen=True, slots=True)
class Watched:
    """`source`, with somebody told how far it is."""

    source: Incoming
    observer: Observer

    @property
    def total(self) -> int | None:
        return self.source.total

    def chunks(self) -> Iterator[bytes]:
        done = 0
        try:
            for chunk in self.source.chunks():
                done += len(chunk)
                self.observer(done, self.source.total)
                yield chunk
        finally:
            self.observer.end()


def source(text: str, network: Callable[[], "Network"], keys: tuple[TrustedKey, ...]) -> Incoming:
    """Return the source that a person named: an address, `-`, or else a file."""
    if text == STDIN:
        return StreamSource()
    if text.startswith(_SCHEMES):
        from device_agent.standalone_http import HttpSource

        return HttpSource(text, network(), keys)
    return FileSource(Path(text))


def _pieces(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, CHUNK):
        yield chunk


def _unreadable(what: str, error: OSError) -> TransientError | UpdateRejected:
    if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EINVAL):
        return UpdateRejected(Code.NOT_FOUND, f"{what}: {error.strerror}", FailureClass.DOWNLOAD)
    return TransientError(f"{what}: {error.strerror or error}")
