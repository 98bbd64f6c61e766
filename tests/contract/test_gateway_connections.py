"""Clients that hold on to connections and do nothing, against the real server."""

import http.client
import socket
import threading

import pytest
from starlette.types import Receive, Scope, Send

from reconciler.http.server import serve

BOUND = 15  # seconds; what must happen has long happened by then
HALF = b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: "
CHUNKS = [b"x" * 1024 * 1024] * 32  # no buffer of the kernel holds so much


async def brief(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=BOUND)


def status_of(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)
    connection.request("GET", "/")
    return connection.getresponse().status


@pytest.mark.parametrize("said", [b"", HALF], ids=["nothing", "half a head"])
def test_connections_that_say_nothing_more_are_ended_and_lock_nobody_out(said: bytes) -> None:
    with serve(brief, host="127.0.0.1", port=0, max_connections=4, patience=1) as server:
        idle = [connect(server.port) for _ in range(4)]
        for each in idle:
            each.sendall(said)
        for each in idle:
            assert ends(each)
        assert status_of(server.port) == 200


def test_half_a_second_head_is_not_waited_for_either() -> None:
    with (
        serve(brief, host="127.0.0.1", port=0, patience=1) as server,
        connect(server.port) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in connection.recv(65536)
        connection.sendall(HALF)
        assert ends(connection)


def ends(connection: socket.socket) -> bool:
    """Read until the server ends the connection; return whether it did."""
    try:
        while connection.recv(65536):
            continue
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def test_a_reader_that_stops_reading_is_left() -> None:
    left = threading.Event()

    async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for chunk in CHUNKS:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        left.set()

    with (
        serve(large, host="127.0.0.1", port=0, patience=1) as server,
        connect(server.port) as reader,
    ):
        reader.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert left.wait(BOUND)
