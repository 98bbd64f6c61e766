"""The gateway over HTTPS: small bodies, verified TLS, bounded in time and size, no redirects."""

import ssl
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any

from device_agent.errors import TransientError
from device_agent.fetch.http import USER_AGENT, Network
from device_agent.fetch.paced import Limits, Pace, PacedSocket
from device_agent.fetch.url import Url, parse_url
from device_agent.ports import Answer

ANSWER_LIMIT = 64 * 1024  # bytes of an answer's body
# A report never holds up an update for long, whatever the gateway does.
PATIENCE = Limits(connect=5.0, headers=10.0, stall=5.0, total=15.0, rate=64)


class HttpsGateway:
    """A Gateway (device_agent.ports). `base` is its address; `http_hosts` may be asked without TLS.

    Raises Refusal for an address that is not https.
    """

    def __init__(self, base: str, network: Network) -> None:
        self._base: Url = parse_url(base.rstrip("/"), network.http_hosts)
        self._network = network

    def get(self, path: str) -> Answer:
        return self._ask("GET", path, None)

    def post(self, path: str, body: bytes) -> Answer:
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        headers = {"User-Agent": USER_AGENT}
        if body is not None:
            headers["Content-Type"] = "application/jose"
        pace = Pace(PATIENCE, time.monotonic)
        connection = self._connection()
        try:
            connection.connect()
            connected: Any = connection.sock
            connection.sock = PacedSocket(connected, pace)
            pace.begin()
            connection.request(method, self._base.target.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            pace.headers_are_in()
            answer = Answer(response.status, response.read(ANSWER_LIMIT + 1))
        except (OSError, HTTPException) as error:
            raise TransientError(f"gateway {self._base.host}: {error or type(error)}") from error
        finally:
            connection.close()
        if len(answer.body) > ANSWER_LIMIT:
            raise TransientError(f"gateway {self._base.host}: more than {ANSWER_LIMIT} bytes")
        return answer

    def _connection(self) -> HTTPConnection:
        host, port = self._base.host, self._base.port
        if self._base.scheme == "http":
            return HTTPConnection(host, port, timeout=PATIENCE.connect)
        try:
            context = ssl.create_default_context(cafile=self._network.ca_file)
        except OSError as error:
            raise TransientError(f"CA file {self._network.ca_file}: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return HTTPSConnection(host, port, timeout=PATIENCE.connect, context=context)
