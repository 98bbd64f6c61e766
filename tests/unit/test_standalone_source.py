"""Where an update by hand comes from: files, standard input and addresses."""

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.errors import TransientError, UpdateRejected
from device_agent.fetch.download import Patience
from device_agent.fetch.http import Network
from device_agent.standalone_http import HttpSource
from device_agent.standalone_source import (
    CHUNK,
    FileSource,
    OpenedArtifact,
    StreamSource,
    Watched,
    source,
)
from schemas.refusal import Code
from tests.support.artifact_keys import KEYS, SIGNERS
from tests.support.artifacts import Build, chunked
from tests.support.fault_server import Asked, FaultServer, Reply, served
from tests.support.installing import component
from tests.support.loopback_ca import loopback_ca

BODY = random.Random(5).randbytes(300_000)
Answer = Callable[[Asked, Reply], Reply]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(lambda asked: served(BODY, asked)) as server:
        yield server


def http(server: FaultServer, network: Network | None = None) -> HttpSource:
    return HttpSource(
        f"{server.url}/new.mender",
        network or Network(),
        patience=Patience(fruitless=3, total=6),
        sleep=lambda _: None,
    )


def everything(incoming: HttpSource | FileSource | StreamSource | Watched) -> bytes:
    return b"".join(incoming.chunks())


def refused(incoming: HttpSource | FileSource | StreamSource) -> UpdateRejected:
    with pytest.raises(UpdateRejected) as caught:
        everything(incoming)
    return caught.value


def cutting(*places: int) -> Answer:
    """Let the first answers end after so many bytes, one each."""
    left = list(places)

    def answer(_: Asked, reply: Reply) -> Reply:
        return replace(reply, cut=left.pop(0)) if left else reply

    return answer


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "new.mender"
    path.write_bytes(BODY)
    incoming = FileSource(path)
    assert everything(incoming) == BODY
    assert incoming.total == len(BODY)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "pipe", "."):
        assert str(tmp_path / name) in refused(FileSource(tmp_path / name)).message


def test_standard_input_is_read_to_its_end_and_then_is_empty() -> None:
    reader, writer = os.pipe()
    os.write(writer, BODY[:1000])
    os.close(writer)
    assert everything(StreamSource(reader)) == BODY[:1000]
    assert everything(StreamSource(reader)) == b""
    os.close(reader)


def test_a_word_is_an_address_standard_input_or_a_file() -> None:
    kinds = [type(source(text, Network, ())) for text in ("https://h/a", "-", "http:a", "./-")]
    assert kinds == [HttpSource, StreamSource, FileSource, FileSource]


def test_a_download_tells_its_size(server: FaultServer) -> None:
    incoming = http(server)
    assert everything(incoming) == BODY
    assert incoming.total == len(BODY)


def test_a_broken_download_goes_on_where_it_broke(server: FaultServer) -> None:
    server.on("new", cutting(100_000, 50_000))
    assert everything(http(server)) == BODY
    ranges = [asked.headers.get("range") for asked in server.asked]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert all("if-range" in asked.headers for asked in server.asked[1:])


def test_a_server_without_ranges_is_read_from_the_start_again(server: FaultServer) -> None:
    server.route = lambda _: Reply(body=BODY)
    server.on("new", cutting(100_000))
    assert everything(http(server)) == BODY


def test_a_server_that_stays_away_is_given_up(server: FaultServer) -> None:
    server.on("new", cutting(*[0] * 9))
    with pytest.raises(TransientError):
        everything(http(server))
    assert len(server.asked) == 3


def test_a_file_of_unknown_size_is_not_resumed(server: FaultServer) -> None:
    server.route = lambda _: Reply(chunks=(BODY[:1000], BODY[1000:]))
    assert everything(http(server)) == BODY
    server.route = lambda _: Reply(body=BODY, announced=-1, cut=5000)
    assert everything(http(server)) == BODY[:5000], "the artifact's reader finds that it is short"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"ETag": '"b"'}, id="another strong validator"),
        pytest.param({"ETag": 'W/"b"'}, id="another weak validator"),
        pytest.param({"Last-Modified": "Mon, 02 Nov 2026 00:00:00 GMT"}, id="another time"),
    ],
)
def test_a_file_that_was_replaced_in_the_meantime_is_refused(
    server: FaultServer, headers: dict[str, str]
) -> None:
    old = {"ETag": '"a"', "Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}
    served_now = [
        Reply(body=BODY, headers=old, cut=100_000),
        Reply(body=BODY[::-1], headers=headers),
    ]
    server.route = lambda _: served_now.pop(0)
    error = refused(http(server))
    assert error.code == Code.MISMATCH
    assert "install it again" in error.message


@pytest.mark.parametrize("status", [200, 206])
def test_a_file_of_another_size_is_another_file(server: FaultServer, status: int) -> None:
    span = {"Content-Range": f"bytes 100000-{len(BODY)}/{len(BODY) + 1}"}
    longer = Reply(206, BODY[100_000:] + b"x", span) if status == 206 else Reply(body=BODY + b"x")
    replies = [Reply(body=BODY, cut=100_000), longer]
    server.route = lambda _: replies.pop(0)
    assert refused(http(server)).code == Code.MISMATCH


def test_a_file_that_was_replaced_before_its_first_byte_came_is_taken(server: FaultServer) -> None:
    new, old = {"ETag": '"b"'}, Reply(body=b"old", headers={"ETag": '"a"'}, cut=0)
    rest = {"Content-Range": f"bytes 100000-{len(BODY) - 1}/{len(BODY)}", **new}
    replies = [old, Reply(body=BODY, headers=new, cut=100_000), Reply(206, BODY[100_000:], rest)]
    server.route = lambda _: replies.pop(0)
    assert everything(http(server)) == BODY
    assert [asked.headers.get("if-range") for asked in server.asked] == [None, None, '"b"']


@pytest.mark.parametrize("text", ["http://192.0.2.1/a", "http://user@127.0.0.1/a", "http://[/a"])
def test_an_address_that_proves_nothing_is_refused(text: str) -> None:
    assert refused(HttpSource(text, Network())).code in (Code.POLICY, Code.PATH)


def test_keys_or_the_configuration_allow_a_host_without_tls(server: FaultServer) -> None:
    allowed = Network(http_hosts=frozenset({"192.0.2.1"}))
    for incoming in (
        HttpSource("http://192.0.2.1:1/a", allowed, patience=Patience(1, 1)),
        HttpSource("http://192.0.2.1:1/a", Network(), KEYS, Patience(1, 1)),
    ):
        incoming.network = replace(incoming.network, proxy=server.url)
        assert everything(incoming) == BODY


def test_a_redirect_leads_to_no_host_that_may_not_be_asked(server: FaultServer) -> None:
    server.route = lambda _: Reply(302, headers={"Location": "http://192.0.2.1/a"})
    assert refused(http(server)).code == Code.REDIRECT


def test_tls_is_verified_by_the_authority_of_the_configuration(tmp_path: Path) -> None:
    ca = loopback_ca(tmp_path)
    with FaultServer(lambda asked: served(BODY, asked), ca.server) as server:
        assert everything(http(server, Network(ca.ca_file))) == BODY
        with pytest.raises(TransientError):
            everything(http(server))


class Watcher:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int | None]] = []
        self.ended = False

    def __call__(self, done: int, total: int | None) -> None:
        self.seen.append((done, total))

    def end(self) -> None:
        self.ended = True


def test_somebody_may_watch(tmp_path: Path) -> None:
    path, watcher = tmp_path / "new.mender", Watcher()
    path.write_bytes(BODY)
    watched = Watched(FileSource(path), watcher)
    assert everything(watched) == BODY
    assert watcher.seen == [(done, len(BODY)) for done in (CHUNK, 2 * CHUNK, len(BODY))]
    assert (watched.total, watcher.ended) == (len(BODY), True)


def test_an_opened_artifact_comes_from_its_first_byte_and_once_only() -> None:
    data = Build().bytes()
    opened = OpenedArtifact(chunked(data, 700), ())
    assert opened.header.name == "kiosk-1.5"
    part = component(b"anything")
    assert b"".join(opened.stream(part.artifact)) == data
    with pytest.raises(UpdateRejected, match="once only"):
        list(opened.stream(part.artifact))


def test_an_artifact_that_no_key_has_signed_is_not_opened() -> None:
    unsigned, signed = Build().bytes(), Build(sign=SIGNERS["ed25519"]).bytes()
    with pytest.raises(UpdateRejected) as caught:
        OpenedArtifact(chunked(unsigned, 4096), KEYS)
    assert caught.value.code == Code.SIGNATURE
    assert OpenedArtifact(chunked(signed, 4096), KEYS).header.name == "kiosk-1.5"


def test_an_artifact_without_payload_is_checked_to_its_end() -> None:
    whole = Build(payloads=(None,)).bytes()
    OpenedArtifact(chunked(whole, 512), ()).check()
    with pytest.raises(UpdateRejected):
        OpenedArtifact(chunked(whole + b"more" * 512, 512), ()).check()
