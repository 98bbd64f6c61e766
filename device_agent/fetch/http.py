"""The agent's HTTP client: GET only, paced, verified TLS, no redirects, no environment.

The standard library's http.client, because urllib3 cannot bound slow headers and follows redirects,
proxies and .netrc files that nobody configured (docs/adr/agent-trust.md).
"""

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from device_agent.errors import TransientError
from device_agent.fetch.paced import Limits, Monotonic, Pace, PacedSocket
from device_agent.fetch.rejections import network, rejected
from device_agent.fetch.url import Url
from schemas.refusal import Code

CHUNK = 64 * 1024
USER_AGENT = "fleetcd-agent"
_STALE = (ConnectionResetError, BrokenPipeError)  # RemoteDisconnected is a ConnectionResetError


@dataclass(frozen=True, slots=True)
class Network:
    """How to reach the tree. `ca_file` None: the system's store. `proxy`: http://host:port.

    `http_hosts` are the hosts that may be asked without TLS; none by default.
    """

    ca_file: Path | None = None
    proxy: str | None = None
    http_hosts: frozenset[str] = frozenset()


class Answer:
    """An answer whose headers are in. Valid inside the `with` block of HttpClient.get()."""

    def __init__(self, url: Url, response: HTTPResponse) -> None:
        self._url, self._response = url, response
        self.status = response.status

    def header(self, name: str) -> str | None:
        return self._response.getheader(name)

    @property
    def content_length(self) -> int | None:
        """Return the body's length as announced, None where it is not (or not a number)."""
        return self._response.length

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives, at most 64 KiB at a time. Raises TransientError."""
        announced, received = self._response.length, 0
        while chunk := self._read():
            received += len(chunk)
            yield chunk
        if announced is not None and received < announced:
            raise network(
                Code.NETWORK, f"{self._url.host} closed after {received} of {announced} bytes"
            )

    def _read(self) -> bytes:
        try:
            return self._response.read1(CHUNK)  # read(n) would block until n bytes are there
        except (OSError, HTTPException) as error:
            raise _away(self._url, error) from error


class HttpClient:
    """One connection at a time, kept while requests follow each other. Not for threads."""

    def __init__(
        self, network: Network, limits: Limits, monotonic: Monotonic = time.monotonic
    ) -> None:
        self.network, self._proxy = network, _proxy(network)
        self._limits, self._pace = limits, Pace(limits, monotonic)
        self._tls: ssl.SSLContext | None = None
        self._connection: HTTPConnection | None = None
        self._origin: tuple[str, str, int] | None = None

    @contextmanager
    def get(self, url: Url, headers: Mapping[str, str]) -> Iterator[Answer]:
        """Ask for `url`; the answer's body is read inside the block. Raises TransientError."""
        response = self._exchange(url, {"User-Agent": USER_AGENT, **headers})
        try:
            yield Answer(url, response)
        finally:
            whole = response.isclosed() if response.chunked else response.length == 0
            response.close()
            if not whole:  # what is left of the body would be taken for the next answer
                self.close()

    def close(self) -> None:
        """Drop the connection, if any. Again: no effect."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._origin = None

    def _exchange(self, url: Url, headers: Mapping[str, str]) -> HTTPResponse:
        reused = self._reusable(url)
        try:
            try:
                return self._send(url, headers)
            except _STALE:
                self.close()
                if not reused:
                    raise
                return self._send(url, headers)  # the server had closed the kept connection
        except (OSError, HTTPException) as error:
            self.close()
            raise _away(url, error) from error

    def _reusable(self, url: Url) -> bool:
        if self._origin != (url.scheme, url.host, url.port):
            self.close()
        return self._connection is not None and self._connection.sock is not None

    def _send(self, url: Url, headers: Mapping[str, str]) -> HTTPResponse:
        if self._connection is None:
            self._connection = self._open(url)
            self._origin = (url.scheme, url.host, url.port)
        connection = self._connection
        if connection.sock is None:
            connection.connect()
            connected: Any = connection.sock
            connection.sock = PacedSocket(connected, self._pace)
        self._pace.begin()
        by_proxy = self._proxy is not None and url.scheme == "http"
        connection.request("GET", url.whole if by_proxy else url.target, headers=dict(headers))
        response = connection.getresponse()
        self._pace.headers_are_in()
        return response

    def _open(self, url: Url) -> HTTPConnection:
        host, port = self._proxy or (url.host, url.port)
        if url.scheme == "http":
            return HTTPConnection(host, port, timeout=self._limits.connect)
        secure = HTTPSConnection(
            host, port, timeout=self._limits.connect, context=self._tls_context()
        )
        if self._proxy is not None:
            secure.set_tunnel(url.host, url.port)
        return secure

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            try:
                self._tls = ssl.create_default_context(cafile=self.network.ca_file)
            except OSError as error:
                raise rejected(
                    Code.STATE, f"{self.network.ca_file}: {error.strerror}; name a PEM file of CAs"
                ) from error
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        return self._tls


def _proxy(network: Network) -> tuple[str, int] | None:
    """Return the proxy's host and port. Raises UpdateRejected (E_POLICY)."""
    if network.proxy is None:
        return None
    try:
        parts = urlsplit(network.proxy)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme != "http" or not host or not port or parts.username is not None:
        raise rejected(Code.POLICY, "the proxy is not of the form http://host:port")
    return host, port


def _away(url: Url, error: Exception) -> TransientError:
    if isinstance(error, TimeoutError):
        return network(Code.SLOW, f"{url.host}: {error}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return network(
            Code.NETWORK,
            f"{url.host}: {error.verify_message};"
            " check the device's clock, its CA file and the host name",
        )
    return network(Code.NETWORK, f"{url.host}: {error or type(error).__name__}")
