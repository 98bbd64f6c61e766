"""tuf's fetcher over a TreeSource: bounded memory, strict JSON, a conditional timestamp."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from device_agent import durable
from device_agent.fetch.paced import Monotonic
from device_agent.fetch.rejections import from_refusal, rejected
from device_agent.trust.shape import check_metadata
from device_agent.trust.source import Found, TreeSource
from schemas.canonical import sha256_hex
from schemas.refusal import Code, Refusal

METADATA: Final = "metadata/"
TARGETS: Final = "targets/"
_TIMESTAMP: Final = METADATA + "timestamp.json"
_ETAG_FILE: Final = "timestamp.etag"
_MAX_ETAG: Final = 200


class TreeFetcher(FetcherInterface):
    """Errors of the source pass through tuf unchanged: it catches its own and OSError only.

    `cache` is tuf's directory of metadata; the timestamp there is what a 304 stands for.
    """

    def __init__(self, source: TreeSource, cache: Path, monotonic: Monotonic) -> None:
        self._source, self._cache, self._monotonic = source, cache, monotonic
        self._etag: str | None = None
        self.timestamp_fetched = float("-inf")  # monotonic, less the HTTP Age

    def _fetch(self, url: str) -> Iterator[bytes]:
        timestamp = url == _TIMESTAMP
        known = self._known_timestamp() if timestamp else None
        asked = self._monotonic()
        with self._source.open(url, known[0] if known else None) as file:
            if file.found is Found.MISSING:
                raise DownloadHTTPError(f"{url} is not in the tree", 404)
            if timestamp:
                self.timestamp_fetched = asked - file.age
                self._etag = file.etag
            if file.found is Found.UNCHANGED and known:
                yield known[1]
            else:
                yield from file.chunks

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Return metadata, checked for its outline. Raises as _fetch(), and UpdateRejected."""
        data = self._collect(url, max_length)
        try:
            check_metadata(url.rpartition("/")[2], data, max_length)
        except Refusal as refusal:
            raise from_refusal(refusal, url) from refusal
        return data

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """Return a target in memory: they are small here, and a temporary file needs a disk."""
        yield io.BytesIO(self._collect(url, max_length))

    def remember_timestamp(self) -> None:
        """Keep the etag of a timestamp that tuf has accepted. Raises OSError."""
        path = self._cache / "timestamp.json"
        etag = self._etag
        if etag is None or len(etag) > _MAX_ETAG or not etag.isascii() or not etag.isprintable():
            return
        record = json.dumps({"etag": etag, "sha256": sha256_hex(path.read_bytes())}).encode()
        stored = self._cache / _ETAG_FILE
        if not stored.exists() or stored.read_bytes() != record:
            durable.write(stored, record)

    def _collect(self, url: str, limit: int) -> bytes:
        data = bytearray()
        for chunk in self._fetch(url):
            data += chunk
            if len(data) > limit:
                raise rejected(Code.LENGTH, f"{url} is longer than {limit} bytes")
        return bytes(data)

    def _known_timestamp(self) -> tuple[str, bytes] | None:
        """Return etag and bytes of the cached timestamp, None unless both are whole."""
        try:
            record = json.loads((self._cache / _ETAG_FILE).read_bytes()[:1024])
            data = (self._cache / "timestamp.json").read_bytes()
            etag, digest = str(record["etag"]), record["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return (etag, data) if sha256_hex(data) == digest else None
