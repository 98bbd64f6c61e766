"""Where an update by hand comes from: a file, standard input, or an address.

Size and digest are known to nobody beforehand: the artifact's own checksums, and its signature,
decide about the bytes.
"""

import errno
import os
import random
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from device_agent.artifact.reader import Artifact, Header, TrustedKey
from device_agent.errors import TransientError, UpdateRejected
from device_agent.fetch.content_range import Head, Unusable, Use, judge
from device_agent.fetch.download import ARTIFACT_LIMITS, PATIENCE, Patience, Progress, Resuming
from device_agent.fetch.http import HttpClient, Network
from device_agent.fetch.rejections import from_refusal, rejected
from device_agent.fetch.url import parse_url
from device_agent.ports import Sleep
from schemas.refusal import Code, Refusal
from schemas.wire.descriptor import Artifact as DescribedArtifact
from schemas.wire.report import FailureClass

CHUNK: Final = 64 * 1024  # bytes
STDIN: Final = "-"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
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


@dataclass(slots=True)
class HttpSource:
    """The artifact at the address `text`, resumed where the connection broke.

    Without TLS only from a host of `network.http_hosts`, from this machine itself, or if `keys`
    have to have signed the artifact.
    """

    text: str
    network: Network
    keys: tuple[TrustedKey, ...] = ()
    patience: Patience = PATIENCE
    sleep: Sleep = time.sleep
    chance: random.Random = field(default_factory=random.SystemRandom)
    total: int | None = None

    def chunks(self) -> Iterator[bytes]:
        unsigned, network = UnsignedFile(), self._network()
        try:
            url = parse_url(self.text, network.http_hosts)
            client = HttpClient(network, ARTIFACT_LIMITS)
            resuming = Resuming(
                client, patience=self.patience, sleep=self.sleep, chance=self.chance
            )
            for chunk in resuming.chunks(url, unsigned, Progress(digest=_NoDigest())):
                self.total = unsigned.size
                yield chunk
        except Refusal as refusal:
            raise from_refusal(refusal, self.text.partition("?")[0]) from refusal

    def _network(self) -> Network:
        """Return the network, which may ask the artifact's host as this source allows."""
        with suppress(ValueError):  # no URL, as parse_url() will say
            host = urlsplit(self.text).hostname
            if host and (self.keys or host in _LOOPBACK):
                hosts = self.network.http_hosts | {host}
                return replace(self.network, http_hosts=hosts)
        return self.network


@dataclass(slots=True)
class UnsignedFile:
    """Holds what the first answer says of a file against all later ones (fetch.download.Expected).

    So a file that is replaced in the meantime is noticed: by its ETag, its time or its size.
    """

    size: int | None = None
    _first: Head | None = None

    def judge(self, head: Head, offset: int) -> Use | Unusable:
        if self._first is None or offset == 0:
            return self._learn(head)
        if self.size is None:
            return Unusable("a file of unknown size", whole=False)
        known = ((self._first.etag, head.etag), (self._first.last_modified, head.last_modified))
        if head.status in (200, 206) and any(a and b and a != b for a, b in known):
            raise _changed()
        try:
            return judge(head, offset, self.size)
        except Refusal as refusal:
            raise (_changed() if refusal.code is Code.LENGTH else refusal) from refusal

    def _learn(self, head: Head) -> Use | Unusable:
        """Take the answer to a request for all of it."""
        if head.status == 206:
            return Unusable("a part, though all of it was asked for", whole=True)
        verdict = judge(replace(head, length=None), 0, 0)
        if isinstance(verdict, Use):
            self._first, self.size = head, head.length
        return verdict


class _NoDigest:
    """Nobody signed one: the artifact's own checksums are looked at by its reader."""

    def update(self, data: bytes, /) -> None:
        """Look at nothing."""

    def hexdigest(self) -> str:
        return ""


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


def source(text: str, network: Network, keys: tuple[TrustedKey, ...]) -> Incoming:
    """Return the source that a person named: an address, `-`, or else a file."""
    if text == STDIN:
        return StreamSource()
    if text.startswith(_SCHEMES):
        return HttpSource(text, network, keys)
    return FileSource(Path(text))


def _pieces(descriptor: int) -> Iterator[bytes]:
    while chunk := os.read(descriptor, CHUNK):
        yield chunk


def _unreadable(what: str, error: OSError) -> TransientError | UpdateRejected:
    if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EINVAL):
        return UpdateRejected(Code.NOT_FOUND, f"{what}: {error.strerror}", FailureClass.DOWNLOAD)
    return TransientError(f"{what}: {error.strerror or error}")


def _changed() -> Refusal:
    return Refusal(
        Code.MISMATCH, "the file was replaced while it was fetched", remedy="install it again"
    )
