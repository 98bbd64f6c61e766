"""The published tree over HTTP: no redirects, gzip bounded by its reader, captive portals told."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from device_agent.errors import UpdateRejected
from device_agent.fetch.http import CHUNK, Answer, HttpClient
from device_agent.fetch.paced import Limits
from device_agent.fetch.rejections import from_refusal, network, rejected
from device_agent.fetch.url import Url, parse_url
from device_agent.trust.source import Found, TreeFile
from schemas.refusal import Code, Refusal

TREE_LIMITS: Final = Limits()

_ABSENT = (403, 404)  # S3 without ListBucket answers 403 for what is not there
_MAX_AGE = 10 * 365 * 86400


class HttpTree:
    """`base` is the tree's address, as in the device's configuration."""

    def __init__(self, base: str, client: HttpClient) -> None:
        self._client = client
        try:
            self._base = str(parse_url(base.rstrip("/"), client.network.http_hosts)).rstrip("/")
        except Refusal as refusal:
            raise from_refusal(refusal, "the tree's address") from refusal

    @contextmanager
    def open(self, path: str, etag: str | None) -> Iterator[TreeFile]:
        url = self._address(path)
        headers = {"Accept-Encoding": "gzip", "Accept": "application/json"}
        if etag is not None:
            headers["If-None-Match"] = etag
        with self._client.get(url, headers) as answer:
            yield _file(url, answer, asked_with=etag)

    def close(self) -> None:
        self._client.close()

    def _address(self, path: str) -> Url:
        """Return the URL of `path`, which holds names (of roles, of hashes) that others chose."""
        try:
            return parse_url(f"{self._base}/{path}", self._client.network.http_hosts)
        except Refusal as refusal:
            raise from_refusal(refusal, "a path in the tree") from refusal


def _file(url: Url, answer: Answer, asked_with: str | None) -> TreeFile:
    age = _age(answer.header("Age"))
    if answer.status == 304 and asked_with is not None:
        return TreeFile(Found.UNCHANGED, etag=asked_with, age=age)
    if answer.status in _ABSENT:
        return TreeFile(Found.MISSING, age=age)
    if 300 <= answer.status < 400:
        place = (answer.header("Location") or "nowhere").partition("?")[0][:200]
        raise rejected(
            Code.REDIRECT,
            f"{url} redirects ({answer.status}) to {place!r};"
            " metadata is not fetched through redirects",
        )
    if answer.status != 200:
        raise network(Code.NETWORK, f"{url} answers {answer.status}")
    return TreeFile(Found.FILE, _json(url, answer), answer.header("ETag"), age)


def _age(text: str | None) -> int:
    """Return the Age header (RFC 9111 section 5.1), 0 where there is none to understand."""
    if text is None or not text.isascii() or not text.isdigit():
        return 0
    return min(int(text[:20]), _MAX_AGE)


def _json(url: Url, answer: Answer) -> Iterator[bytes]:
    encoding = (answer.header("Content-Encoding") or "identity").strip().lower()
    if encoding not in ("gzip", "identity"):
        raise rejected(Code.ENCODING, f"{url} comes as {encoding[:40]!r}; gzip or none was asked")
    chunks = answer.chunks()
    return _no_page(url, _inflated(url, chunks) if encoding == "gzip" else chunks)


def _no_page(url: Url, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass JSON on; an HTML page is a captive portal's or a wrong address, not an attack."""
    started = False
    for chunk in chunks:
        if not started and chunk.strip():
            started = True
            if chunk.lstrip().startswith(b"<"):
                raise network(
                    Code.NETWORK,
                    f"{url} is a web page, not metadata: a captive portal, or a wrong address",
                )
        yield chunk


def _inflated(url: Url, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Inflate in pieces of at most 64 KiB, so that who counts them stops a bomb in time."""
    inflater = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        waiting = chunk
        while waiting:
            if inflater.eof:
                raise rejected(Code.TRAILING, f"{url} has bytes after its gzip body")
            try:
                piece = inflater.decompress(waiting, CHUNK)
            except zlib.error as error:
                raise _garbled(url) from error
            waiting = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            if piece:
                yield piece
    while not inflater.eof and (piece := inflater.flush(CHUNK)):
        yield piece
    if not inflater.eof:
        raise network(Code.NETWORK, f"{url}: the gzip body ends early")


def _garbled(url: Url) -> UpdateRejected:
    return rejected(Code.ENCODING, f"{url} says it is gzip, and is not")
