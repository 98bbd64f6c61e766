"""A loopback web server that can be told to misbehave, and that remembers what it was asked."""

import hashlib
import re
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Asked:
    """A request. Header names are in lower case."""

    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """An answer. `announced` lies about the length (-1: says nothing); `cut` closes the connection
    after that many bytes of the body; `pause` seconds lie between single bytes of the body,
    `header_pause` of the headers; `endless` is sent chunked, over and over, until the client goes.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    announced: int | None = None
    cut: int | None = None
    pause: float = 0.0
    header_pause: float = 0.0
    endless: bytes | None = None
    chunks: tuple[bytes, ...] | None = None


Route = Callable[[Asked], Reply]


def files(directory: Path) -> Route:
    """Return a route that serves `directory` as a good web server does: ETag, 304, Range."""

    def route(asked: Asked) -> Reply:
        path = directory / asked.path.lstrip("/")
        if not path.is_file():
            return Reply(404)
        return served(path.read_bytes(), asked)

    return route


def served(body: bytes, asked: Asked) -> Reply:
    """Return a good server's answer to a request for `body`."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    whole = Reply(200, body, {"ETag": etag, "Accept-Ranges": "bytes"})
    if asked.headers.get("if-none-match") == etag:
        return replace(whole, status=304, body=b"")
    wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
    if wanted is None or asked.headers.get("if-range", etag) != etag:
        return whole
    first = int(wanted[1])
    if first >= len(body):
        return Reply(416, headers={"Content-Range": f"bytes */{len(body)}"})
    span = f"bytes {first}-{len(body) - 1}/{len(body)}"
    return Reply(206, body[first:], {**whole.headers, "Content-Range": span})


class FaultServer:
    """Serve `route` on a free loopback port, over TLS with `tls`. Use it in a `with` block."""

    def __init__(self, route: Route, tls: ssl.SSLContext | None = None) -> None:
        self.route, self.asked, self.connections = route, list[Asked](), 0
        self.sent = 0  # bytes of bodies
        self.stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def on(self, pattern: str, answer: Callable[[Asked, Reply], Reply]) -> None:
        """Change the answers to paths that match `pattern` from here on."""
        inner = self.route

        def route(asked: Asked) -> Reply:
            reply = inner(asked)
            return answer(asked, reply) if re.search(pattern, asked.path) else reply

        self.route = route

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that refuse the certificate are what tests are about."""


def _handler(server: FaultServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 10

        def setup(self) -> None:
            super().setup()
            server.connections += 1

        def do_GET(self) -> None:
            asked = Asked(self.path, {k.lower(): v for k, v in self.headers.items()})
            server.asked.append(asked)
            try:
                self._answer(server.route(asked))
            except OSError:
                self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

        def _answer(self, reply: Reply) -> None:
            chunked = reply.endless is not None or reply.chunks is not None
            lines = [f"HTTP/1.1 {reply.status} X"]
            lines += [f"{name}: {value}" for name, value in reply.headers.items()]
            if chunked:
                lines.append("Transfer-Encoding: chunked")
            elif reply.announced != -1 and reply.status != 304:
                length = len(reply.body) if reply.announced is None else reply.announced
                lines.append(f"Content-Length: {length}")
            self._send(("\r\n".join(lines) + "\r\n\r\n").encode(), reply.header_pause)
            if chunked:
                self._send_chunked(reply)
            else:
                self._send(reply.body[: reply.cut], reply.pause)
            server.sent += len(reply.body[: reply.cut])
            if reply.cut is not None or reply.announced is not None:
                self.close_connection = True

        def _send(self, data: bytes, pause: float) -> None:
            pieces: Iterable[bytes] = (bytes([b]) for b in data) if pause else (data,)
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                if pause and server.stopping.wait(pause):
                    return

        def _send_chunked(self, reply: Reply) -> None:
            def send(chunk: bytes) -> None:
                self._send(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n", 0)

            for chunk in reply.chunks or ():
                send(chunk)
            while reply.endless is not None and not server.stopping.is_set():
                send(reply.endless)
            self._send(b"0\r\n\r\n", 0)

    return Handler
