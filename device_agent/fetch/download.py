"""Artifacts over HTTP: streamed, hashed on the way, resumed by Range where the connection broke."""

import hashlib
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from device_agent.errors import TransientError
from device_agent.fetch.content_range import Head, Unusable, Use, judge
from device_agent.fetch.http import Answer, HttpClient
from device_agent.fetch.paced import Limits
from device_agent.fetch.rejections import from_refusal, network, rejected
from device_agent.fetch.url import Url, parse_url, redirected
from device_agent.ports import Digest, Sleep
from schemas.refusal import Code, Refusal
from schemas.wire.descriptor import Artifact

ARTIFACT_LIMITS: Final = Limits(total=None, stall=30.0, rate=1024, window=30.0)
MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_FOR_GOOD: Final = (400, 401, 403, 404, 405, 410, 414, 451)  # asking again at once is no use


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a broken download is resumed: `fruitless` times in a row without a new byte, and
    `total` times altogether. Delays (seconds) double from `first` to `longest`, with full jitter.
    """

    fruitless: int = 5
    total: int = 200
    first: float = 1.0
    longest: float = 60.0

    def delay(self, failures: int, chance: float) -> float:
        """Return how long to wait after that many failures in a row; `chance` is in [0, 1)."""
        return float(min(self.longest, self.first * 2 ** min(failures - 1, 30)) * chance)


PATIENCE: Final = Patience()


@dataclass(slots=True)
class Progress:
    """How far a download is: `offset` bytes were passed on, and `digest` has seen exactly them.

    Whoever can restore both (the bytes are on disk, hash them again) can go on after a restart.
    """

    offset: int = 0
    digest: Digest = field(default_factory=hashlib.sha256)
    validator: str | None = None  # a strong ETag of the bytes so far
    ranges: bool = True  # this server keeps to them

    def take(self, chunk: bytes) -> None:
        self.digest.update(chunk)
        self.offset += len(chunk)


class Expected(Protocol):
    """What the answers to a download have to be. `size` None: only their end tells the end."""

    @property
    def size(self) -> int | None: ...

    def judge(self, head: Head, offset: int) -> Use | Unusable:
        """Return what to do with the answer to a request from `offset` on. Raises Refusal."""
        ...


@dataclass(frozen=True, slots=True)
class SignedSize:
    """Bytes whose digest is signed, too: whoever sends them may send them as he likes."""

    size: int

    def judge(self, head: Head, offset: int) -> Use | Unusable:
        return judge(head, offset, self.size)


class Resuming:
    """Downloads over `client` that go on where they broke.

    Nothing is kept but the chunk at hand. Redirects are followed, three at most and never to
    http://, as storage services use them.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        patience: Patience = PATIENCE,
        sleep: Sleep = time.sleep,
        chance: random.Random | None = None,
    ) -> None:
        self._client, self._patience = client, patience
        self._sleep, self._chance = sleep, chance or random.SystemRandom()

    @property
    def http_hosts(self) -> frozenset[str]:
        return self._client.network.http_hosts

    def chunks(self, url: Url, expected: Expected, progress: Progress) -> Iterator[bytes]:
        """Yield what is there from `progress` on, moving it along.

        Raises TransientError when the network stays away, UpdateRejected and Refusal.
        """
        try:
            yield from self._all(url, expected, progress)
        finally:
            self._client.close()

    def _all(self, url: Url, expected: Expected, progress: Progress) -> Iterator[bytes]:
        failures = 0
        for _ in range(self._patience.total):
            before = progress.offset
            broken: TransientError | None = None
            try:
                yield from self._once(url, expected, progress)
            except _NotThere:
                raise
            except TransientError as error:
                broken = error
            if progress.offset == expected.size or (expected.size is None and not broken):
                return
            failures = 1 if progress.offset > before else failures + 1
            if failures >= self._patience.fruitless or (expected.size is None and progress.offset):
                raise broken or _short(url, expected, progress)
            self._client.close()
            self._sleep(self._patience.delay(failures, self._chance.random()))
        raise _short(url, expected, progress)

    def _once(self, url: Url, expected: Expected, progress: Progress) -> Iterator[bytes]:
        """Yield what one request brings, up to its end or its break."""
        with self._asked(url, _headers(progress)) as answer:
            skip, size = _usable(url, answer, expected, progress).skip, expected.size
            for chunk in answer.chunks():
                fresh = chunk[skip:]
                skip = max(0, skip - len(chunk))
                if size is not None and len(fresh) > size - progress.offset:
                    raise rejected(Code.LENGTH, f"{url} goes on after its {size} bytes")
                if fresh:
                    progress.take(fresh)
                    yield fresh

    @contextmanager
    def _asked(self, url: Url, headers: Mapping[str, str]) -> Iterator[Answer]:
        for _ in range(MAX_REDIRECTS + 1):
            with self._client.get(url, headers) as answer:
                if answer.status not in _REDIRECTS:
                    yield answer
                    return
                location = answer.header("Location")
            url = redirected(url, location, self.http_hosts)
        raise rejected(Code.REDIRECT, f"more than {MAX_REDIRECTS} redirects, the last to {url}")


class HttpArtifactSource:
    """An ArtifactSource and ResumableSource (device_agent.ports). `tree` is the tree's address.

    The signed digest decides about the bytes, wherever redirects lead.
    """

    def __init__(
        self,
        tree: str,
        client: HttpClient,
        *,
        patience: Patience = PATIENCE,
        sleep: Sleep = time.sleep,
        chance: random.Random | None = None,
    ) -> None:
        self._tree = tree.rstrip("/")
        self._resuming = Resuming(client, patience=patience, sleep=sleep, chance=chance)

    def stream(self, artifact: Artifact) -> Iterator[bytes]:
        """Yield the artifact's bytes; see ArtifactSource. The digest is judged after the last."""
        return self._judged(artifact, Progress())

    def resume(self, artifact: Artifact, offset: int, digest: Digest) -> Iterator[bytes]:
        """Yield the artifact's bytes from `offset` on; see ResumableSource."""
        return self._judged(artifact, Progress(offset, digest))

    def _judged(self, artifact: Artifact, progress: Progress) -> Iterator[bytes]:
        text = artifact.url or f"{self._tree}/artifacts/{artifact.sha256}"
        try:
            url = parse_url(text, self._resuming.http_hosts)
            yield from self._resuming.chunks(url, SignedSize(artifact.size), progress)
        except Refusal as refusal:
            raise from_refusal(refusal, f"artifact {artifact.sha256[:12]}") from refusal
        if progress.digest.hexdigest() != artifact.sha256:
            raise rejected(
                Code.HASH,
                f"{url} has the digest {progress.digest.hexdigest()}, {artifact.sha256} was signed",
            )


class _NotThere(TransientError):
    """Asking again at once is no use: 404 and its like. The next poll asks again."""


def _headers(progress: Progress) -> Mapping[str, str]:
    headers = {"Accept-Encoding": "identity"}
    if progress.offset and progress.ranges:
        headers["Range"] = f"bytes={progress.offset}-"
        if progress.validator:
            headers["If-Range"] = progress.validator
    return headers


def _usable(url: Url, answer: Answer, expected: Expected, progress: Progress) -> Use:
    if answer.status in _FOR_GOOD:
        raise _NotThere(f"{Code.NOT_FOUND}: {url} answers {answer.status}")
    head = Head(
        answer.status,
        answer.header("Content-Type"),
        answer.header("Content-Encoding"),
        answer.header("Content-Range"),
        answer.content_length,
        answer.header("ETag"),
        answer.header("Last-Modified"),
    )
    verdict = expected.judge(head, progress.offset)
    if isinstance(verdict, Unusable):
        progress.ranges = progress.ranges and not verdict.whole
        raise network(Code.NETWORK, f"{url} answers with {verdict.why}")
    known = progress.validator if progress.offset else None
    if head.etag and head.etag.startswith('"') and not known:
        progress.validator = head.etag
    return verdict


def _short(url: Url, expected: Expected, progress: Progress) -> TransientError:
    return network(Code.NETWORK, f"{url} ended after {progress.offset} of {expected.size} bytes")
