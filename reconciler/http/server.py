"""Serving the application over HTTPS: uvicorn, bounded, in a thread of its own."""

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from reconciler.errors import Misconfigured, Unavailable
from reconciler.http.connections import ImpatientHttp

MAX_CONNECTIONS = 2000
PATIENCE, GRACE = 20, 10  # seconds
START_TIMEOUT = 30  # seconds
SETTLE = 0.5  # seconds in which the server has surely stopped accepting


class Server:
    """A server that listens. `port` is the bound one, also where 0 was asked for."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket) -> None:
        self._server, self._listener = server, listener
        self.host, self.port = listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._run, name="gateway", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._listener:
            self._server.run(sockets=[self._listener])

    def wait_started(self, timeout: float = START_TIMEOUT) -> None:
        """Return when requests are answered. Raises Unavailable if that does not happen."""
        pause = threading.Event()
        for _ in range(int(timeout / 0.01)):
            if self._server.started:
                return
            if not self._thread.is_alive():
                break
            pause.wait(0.01)
        raise Unavailable(f"the gateway did not start on {self.host}:{self.port}")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the server has ended; return whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Finish open requests (for at most GRACE seconds), then end. Again: no effect."""
        self._server.should_exit = True
        for _ in range(int(GRACE / SETTLE) + 1):
            self._thread.join(SETTLE)
            if not self._thread.is_alive():
                return
            if not self._server.server_state.tasks:
                # Only idle connections are left: their clients may take long to say goodbye.
                self._server.force_exit = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def serve(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    certificate: Path | None = None,
    key: Path | None = None,
    max_connections: int = MAX_CONNECTIONS,
    patience: int = PATIENCE,
) -> Server:
    """Start serving `app` in a thread and return when it answers. TLS when `certificate` (a PEM
    chain) and `key` are given. No header of a proxy is believed. A connection may be idle, or take
    for the head of a request, `patience` seconds.

    Raises Misconfigured (certificate, address) and Unavailable (the address is taken).
    """
    config = uvicorn.Config(
        app,
        http=ImpatientHttp,
        loop="uvloop",
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        limit_concurrency=max_connections,
        timeout_keep_alive=patience,
        timeout_graceful_shutdown=GRACE,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise Misconfigured(f"gateway.certificate {certificate}, key {key}: {error}") from error
    server = Server(uvicorn.Server(config), _listener(host, port))
    server.wait_started()
    return server


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except socket.gaierror as error:
        raise Misconfigured(f"gateway.listen {host}:{port}: {error}") from error
    except OSError as error:
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}") from error
