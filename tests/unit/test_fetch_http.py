"""The agent's HTTP client: TLS, kept connections, no surprises from the environment."""

import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.errors import TransientError, UpdateRejected
from device_agent.fetch.http import HttpClient, Network
from device_agent.fetch.url import parse_url, redirected
from schemas.refusal import Code, Refusal
from tests.support.fault_server import FaultServer, Reply
from tests.support.loopback_ca import LoopbackCa, loopback_ca
from tests.support.trust_device import IMPATIENT, LOOPBACK


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> LoopbackCa:
    return loopback_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def server(ca: LoopbackCa) -> Iterator[FaultServer]:
    with FaultServer(lambda _: Reply(body=b"hello"), ca.server) as server:
        yield server


def fetch(client: HttpClient, address: str) -> bytes:
    with client.get(parse_url(address, client.network.http_hosts), {}) as answer:
        return b"".join(answer.chunks())


def test_a_server_of_the_configured_ca_is_believed(server: FaultServer, ca: LoopbackCa) -> None:
    client = HttpClient(Network(ca_file=ca.ca_file), IMPATIENT)
    assert fetch(client, server.url) == b"hello"


def test_a_server_of_another_ca_is_not(server: FaultServer, tmp_path: Path) -> None:
    other = loopback_ca(tmp_path)
    with pytest.raises(TransientError, match=r"E_NETWORK.*certificate"):
        fetch(HttpClient(Network(ca_file=other.ca_file), IMPATIENT), server.url)


def test_a_server_of_no_ca_of_the_system_is_not(server: FaultServer) -> None:
    with pytest.raises(TransientError, match="certificate"):
        fetch(HttpClient(Network(), IMPATIENT), server.url)


def test_a_certificate_for_another_name_is_not_believed(tmp_path: Path) -> None:
    ca = loopback_ca(tmp_path, "updates.example")
    with (
        FaultServer(lambda _: Reply(body=b"hello"), ca.server) as server,
        pytest.raises(TransientError, match="host name"),
    ):
        fetch(HttpClient(Network(ca_file=ca.ca_file), IMPATIENT), server.url)


def test_a_ca_file_that_is_not_there_is_named(server: FaultServer, tmp_path: Path) -> None:
    client = HttpClient(Network(ca_file=tmp_path / "absent.pem"), IMPATIENT)
    with pytest.raises(UpdateRejected, match=r"E_STATE.*absent\.pem"):
        fetch(client, server.url)


def test_one_connection_serves_requests_that_follow_each_other(
    server: FaultServer, ca: LoopbackCa
) -> None:
    client = HttpClient(Network(ca_file=ca.ca_file), IMPATIENT)
    for _ in range(3):
        assert fetch(client, server.url) == b"hello"
    assert server.connections == 1


def test_a_kept_connection_that_the_server_has_closed_is_made_again() -> None:
    with FaultServer(lambda _: Reply(body=b"hello", cut=5)) as server:  # closes after the answer
        client = HttpClient(LOOPBACK, IMPATIENT)
        assert fetch(client, server.url) == b"hello"
        assert fetch(client, server.url) == b"hello"
        assert server.connections == 2


def test_an_answer_that_was_not_read_is_not_taken_for_the_next() -> None:
    with FaultServer(lambda asked: Reply(body=asked.path.encode() * 1000)) as server:
        client = HttpClient(LOOPBACK, IMPATIENT)
        with client.get(parse_url(f"{server.url}/first", LOOPBACK.http_hosts), {}):
            pass
        assert fetch(client, f"{server.url}/second") == b"/second" * 1000


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with FaultServer(lambda _: Reply(body=b"hello")) as server:
        assert fetch(HttpClient(LOOPBACK, IMPATIENT), server.url) == b"hello"


def test_a_configured_proxy_is_asked_for_the_whole_address() -> None:
    with FaultServer(lambda asked: Reply(body=asked.path.encode())) as proxy:
        network = Network(proxy=proxy.url, http_hosts=frozenset({"updates.example"}))
        body = fetch(HttpClient(network, IMPATIENT), "http://updates.example/tree?x=1")
        assert body == b"http://updates.example/tree?x=1"


class _Tunnel(socketserver.BaseRequestHandler):
    """A proxy that knows CONNECT."""

    def handle(self) -> None:
        client: socket.socket = self.request
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        host, _, port = head.split()[1].decode().rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as server:
            client.sendall(b"HTTP/1.1 200 Go ahead\r\n\r\n")
            while True:
                for ready in select.select([client, server], [], [], 5)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (server if ready is client else client).sendall(data)


def test_a_configured_proxy_carries_tls_to_the_server_itself(
    server: FaultServer, ca: LoopbackCa
) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Tunnel) as proxy:
        proxy.daemon_threads = True
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{proxy.server_address[1]}"
        client = HttpClient(Network(ca_file=ca.ca_file, proxy=address), IMPATIENT)
        assert fetch(client, server.url) == b"hello"
        client.close()
        proxy.shutdown()


@pytest.mark.parametrize("proxy", ["proxy:3128", "https://p:1", "http://p", "http://u:s@p:1", "["])
def test_a_proxy_that_is_not_understood_is_refused_at_once(proxy: str) -> None:
    with pytest.raises(UpdateRejected, match="E_POLICY"):
        HttpClient(Network(proxy=proxy), IMPATIENT)


def test_a_connection_refused_is_the_networks_fault() -> None:
    with pytest.raises(TransientError, match=r"E_NETWORK.*refused"):
        fetch(HttpClient(LOOPBACK, IMPATIENT), "http://127.0.0.1:1/")


def test_http_without_tls_needs_to_be_allowed_by_host() -> None:
    with pytest.raises(Refusal) as caught:
        parse_url("http://127.0.0.1/", {"localhost"})
    assert caught.value.code is Code.POLICY


@pytest.mark.parametrize(
    "address",
    ["https://a.example/", "https://a.example:8443/x?y=1", "https://[::1]:8443/", "http://l:8080/"],
)
def test_an_address_is_written_as_it_was_read(address: str) -> None:
    assert parse_url(address, {"l"}).whole == address


def test_an_address_is_shown_without_its_query() -> None:
    assert str(parse_url("https://a.example/x?signature=s3cret")) == "https://a.example/x"


def test_a_redirect_never_leaves_tls_even_to_an_allowed_host() -> None:
    asked = parse_url("https://a.example/x")
    assert redirected(asked, "y").whole == "https://a.example/y"
    with pytest.raises(Refusal, match="E_REDIRECT"):
        redirected(asked, "http://127.0.0.1/", {"127.0.0.1"})
