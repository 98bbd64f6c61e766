"""The artifact for an update by hand that lies at an address; files need nothing of this."""

import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from device_agent.artifact.reader import TrustedKey
from device_agent.fetch.content_range import Head, Unusable, Use, judge
from device_agent.fetch.download import ARTIFACT_LIMITS, PATIENCE, Patience, Progress, Resuming
from device_agent.fetch.http import HttpClient, Network
from device_agent.fetch.rejections import from_refusal
from device_agent.fetch.url import parse_url, shown
from device_agent.ports import Sleep
from schemas.refusal import Code, Refusal

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


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
            raise from_refusal(refusal, shown(self.text)) from refusal

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


def _changed() -> Refusal:
    return Refusal(
        Code.MISMATCH, "the file was replaced while it was fetched", remedy="install it again"
    )
