"""A published tree over HTTPS in a process of its own, which counts what it is asked.

`python -m tests.bench.tree_server DIRECTORY PEM` prints `{"direct": PORT, "counted": PORT}` and
then, for each line on its standard input, the requests and the bytes (both ways, TLS included)
that came by the counted port so far. It ends with its input.
"""

import json
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from reconciler.http.server import serve
from reconciler.http.static_tree import StaticTree

LOOPBACK = "127.0.0.1"
IDLE = 20.0  # seconds until a silent connection is cut
SETTLED = 5.0  # seconds in which connections that were closed have ended
CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Traffic:
    requests: int
    bytes: int

    def since(self, before: "Traffic") -> "Traffic":
        return Traffic(self.requests - before.requests, self.bytes - before.bytes)


@dataclass(frozen=True, slots=True)
class TreeServer:
    """The running process. Only what goes to `counted` is counted."""

    direct: str
    counted: str
    process: subprocess.Popen[str]

    def traffic(self) -> Traffic:
        """Return what was counted, once no connection is open any more."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return Traffic(**json.loads(_line(self.process)))


@contextmanager
def tree_server(directory: Path, pem: Path) -> Iterator[TreeServer]:
    command = [sys.executable, "-m", "tests.bench.tree_server", str(directory), str(pem)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            ports = json.loads(_line(process))
            direct, counted = (f"https://{LOOPBACK}:{ports[n]}" for n in ("direct", "counted"))
            yield TreeServer(direct, counted, process)
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    line = process.stdout.readline()
    assert line, "the tree server ended"
    return line


class _Count:
    """Requests, bytes and open connections. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests = self._bytes = self._open = 0

    def add(self, *, requests: int = 0, bytes: int = 0, connections: int = 0) -> None:
        with self._changed:
            self._requests += requests
            self._bytes += bytes
            self._open += connections
            self._changed.notify_all()

    def settled(self) -> Traffic:
        with self._changed:
            self._changed.wait_for(lambda: self._open == 0, SETTLED)
            return Traffic(self._requests, self._bytes)


def _counting(app: ASGIApp, count: _Count, port_of_relay: set[int]) -> ASGIApp:
    """Return `app`, counting the requests of connections that the relay opened."""

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["client"][1] in port_of_relay:
            count.add(requests=1)
        await app(scope, receive, send)

    return counted


class _Relay(socketserver.ThreadingTCPServer):
    """Passes bytes on to `upstream`, counting them."""

    daemon_threads = True

    def __init__(self, upstream: int, count: _Count, ports: set[int]) -> None:
        super().__init__((LOOPBACK, 0), _Passing)
        self.upstream, self.count, self.ports = upstream, count, ports


class _Passing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        relay = self.server
        assert isinstance(relay, _Relay)
        relay.count.add(connections=1)
        try:
            with socket.create_connection((LOOPBACK, relay.upstream), IDLE) as above:
                relay.ports.add(above.getsockname()[1])
                back = threading.Thread(target=_pass, args=(above, self.request, relay.count))
                back.start()
                _pass(self.request, above, relay.count)
                back.join(IDLE)
        finally:
            relay.count.add(connections=-1)


def _pass(source: socket.socket, to: socket.socket, count: _Count) -> None:
    source.settimeout(IDLE)
    try:
        while data := source.recv(CHUNK):
            count.add(bytes=len(data))
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)
    except OSError:
        return  # one side is gone; the other ends by itself, or after IDLE


def _main(directory: Path, pem: Path) -> None:
    count, ports = _Count(), set[int]()
    app = _counting(StaticTree(directory), count, ports)
    with serve(app, host=LOOPBACK, port=0, certificate=pem, key=pem) as server:
        relay = _Relay(server.port, count, ports)
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        _say({"direct": server.port, "counted": relay.server_address[1]})
        for _ in sys.stdin:
            traffic = count.settled()
            _say({"requests": traffic.requests, "bytes": traffic.bytes})


def _say(words: dict[str, int]) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
