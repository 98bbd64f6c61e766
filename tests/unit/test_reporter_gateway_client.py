"""The gateway's client: verified TLS, bounded answers, no redirects, told plainly when away."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from device_agent.errors import TransientError
from device_agent.fetch.http import Network
from device_agent.gateway_client import ANSWER_LIMIT, HttpsGateway
from schemas.refusal import Refusal
from tests.support.loopback_ca import loopback_ca


@contextmanager
def serving(
    answer: Callable[[BaseHTTPRequestHandler], None], tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def echo(request: BaseHTTPRequestHandler) -> None:
    length = int(request.headers.get("Content-Length", 0))
    body = f"{request.command} {request.path} {request.headers['Content-Type']} ".encode()
    request.send_response(200)
    request.end_headers()
    request.wfile.write(body + request.rfile.read(length))


PLAIN = Network(http_hosts=frozenset({"127.0.0.1"}))


def test_a_report_is_posted_as_jose_below_the_gateways_path() -> None:
    with serving(echo) as port:
        gateway = HttpsGateway(f"http://127.0.0.1:{port}/fleet/", PLAIN)
        answer = gateway.post("/v1/report", b"a.b.c")
    assert answer.status == 200
    assert answer.body == b"POST /fleet/v1/report application/jose a.b.c"


def test_the_gateways_certificate_is_verified_against_the_configured_ca(tmp_path: Path) -> None:
    ca = loopback_ca(tmp_path)
    with serving(echo, ca.server) as port:
        base = f"https://127.0.0.1:{port}"
        assert HttpsGateway(base, Network(ca_file=ca.ca_file)).get("/v1/nonce").status == 200
        with pytest.raises(TransientError, match="certificate"):
            HttpsGateway(base, Network()).get("/v1/nonce")


def test_a_gateway_without_tls_is_refused_unless_its_host_is_listed() -> None:
    with pytest.raises(Refusal, match="not encrypted"):
        HttpsGateway("http://gateway.example", Network())


def test_an_answer_that_never_ends_is_cut_off() -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(b"x" * (2 * ANSWER_LIMIT))

    with serving(endless) as port, pytest.raises(TransientError, match="more than"):
        HttpsGateway(f"http://127.0.0.1:{port}", PLAIN).get("/v1/nonce")


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    def away(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "http://127.0.0.1:1/")
        request.end_headers()

    with serving(away) as port:
        assert HttpsGateway(f"http://127.0.0.1:{port}", PLAIN).get("/v1/nonce").status == 302


def test_a_gateway_that_is_away_is_tried_again_later() -> None:
    with pytest.raises(TransientError, match=r"gateway 127\.0\.0\.1"):
        HttpsGateway("http://127.0.0.1:1", PLAIN).get("/v1/nonce")
