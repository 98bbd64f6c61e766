"""The artifact source: addresses, redirects, patience, slow peers."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from device_agent.errors import TransientError, UpdateRejected
from device_agent.fetch.download import HttpArtifactSource, Patience
from device_agent.fetch.http import HttpClient
from schemas.refusal import Code
from schemas.wire.descriptor import Artifact, Encoding
from schemas.wire.report import FailureClass
from tests.support.fault_server import Asked, FaultServer, Reply, served
from tests.support.trust_device import IMPATIENT, LOOPBACK

BODY = random.Random(3).randbytes(100_000)
DIGEST = hashlib.sha256(BODY).hexdigest()
ARTIFACT = Artifact("", DIGEST, len(BODY), len(BODY), Encoding.RAW)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(lambda asked: served(BODY, asked)) as server:
        yield server


def source(server: FaultServer, slept: list[float] | None = None) -> HttpArtifactSource:
    return HttpArtifactSource(
        server.url,
        HttpClient(LOOPBACK, IMPATIENT),
        patience=Patience(fruitless=3, total=6, first=1.0, longest=4.0),
        sleep=(slept if slept is not None else []).append,
        chance=random.Random(1),
    )


def test_an_artifact_without_an_address_lies_in_the_tree_by_its_digest(
    server: FaultServer,
) -> None:
    assert b"".join(source(server).stream(ARTIFACT)) == BODY
    assert server.paths() == [f"/artifacts/{DIGEST}"]


def test_an_artifact_with_an_address_is_fetched_from_there(server: FaultServer) -> None:
    elsewhere = replace(ARTIFACT, url=f"{server.url}/images/os.img?signature=1")
    assert b"".join(source(server).stream(elsewhere)) == BODY
    assert server.paths() == ["/images/os.img?signature=1"]


def test_other_bytes_are_refused_after_the_last_one(server: FaultServer) -> None:
    server.route = lambda _: Reply(body=bytes(len(BODY)))
    with pytest.raises(UpdateRejected) as caught:
        list(source(server).stream(ARTIFACT))
    assert (caught.value.code, caught.value.failure) == (Code.HASH, FailureClass.CHECKSUM)


def test_a_download_goes_on_from_bytes_of_an_earlier_process(server: FaultServer) -> None:
    there = 31_000
    resumed = source(server).resume(ARTIFACT, there, hashlib.sha256(BODY[:there]))
    assert b"".join(resumed) == BODY[there:]
    assert server.asked[0].headers["range"] == f"bytes={there}-"


def test_bytes_of_an_earlier_process_that_are_wrong_are_found_out(server: FaultServer) -> None:
    with pytest.raises(UpdateRejected, match="E_HASH"):
        list(source(server).resume(ARTIFACT, 10, hashlib.sha256(b"0123456789")))


def test_a_part_is_asked_for_only_of_the_same_file(server: FaultServer) -> None:
    server.on("", lambda asked, r: r if "range" in asked.headers else replace(r, cut=500))
    list(source(server).stream(ARTIFACT))
    assert server.asked[1].headers["if-range"] == served(BODY, Asked("", {})).headers["ETag"]


def test_a_server_that_stays_in_trouble_is_given_up_after_growing_waits(
    server: FaultServer,
) -> None:
    server.route = lambda _: Reply(503)
    slept: list[float] = []
    with pytest.raises(TransientError, match="503"):
        list(source(server, slept).stream(ARTIFACT))
    assert len(server.asked) == 3
    assert len(slept) == 2


def test_waits_double_up_to_the_longest_and_are_jittered() -> None:
    patience = Patience(first=1.0, longest=60.0)
    assert [patience.delay(n, 1.0) for n in (1, 2, 3, 7, 5000)] == [1, 2, 4, 60, 60]
    assert patience.delay(3, 0.25) == 1.0


def test_tries_are_bounded_even_when_each_brings_a_byte(server: FaultServer) -> None:
    server.on("", lambda _, reply: replace(reply, cut=1))
    with pytest.raises(TransientError, match="6 of 100000 bytes"):
        list(source(server).stream(ARTIFACT))


@pytest.mark.parametrize("status", [403, 404, 410])
def test_an_artifact_that_is_not_there_is_asked_for_once(server: FaultServer, status: int) -> None:
    server.route = lambda _: Reply(status)
    with pytest.raises(TransientError, match="E_NOT_FOUND"):
        list(source(server).stream(ARTIFACT))
    assert len(server.asked) == 1


def redirecting(times: int, server: FaultServer) -> None:
    def answer(asked: Asked, reply: Reply) -> Reply:
        hop = int(asked.path.rpartition("=")[2]) if "=" in asked.path else 0
        if hop == times:
            return reply
        return Reply(302, headers={"Location": f"/elsewhere?hop={hop + 1}"})

    server.on("", answer)


def test_three_redirects_are_followed(server: FaultServer) -> None:
    redirecting(3, server)
    assert b"".join(source(server).stream(ARTIFACT)) == BODY


def test_a_fourth_redirect_is_refused(server: FaultServer) -> None:
    redirecting(4, server)
    with pytest.raises(UpdateRejected, match="E_REDIRECT"):
        list(source(server).stream(ARTIFACT))


@pytest.mark.parametrize("place", ["http://example.com/x", "ftp://example.com/x", "", "//user@h/"])
def test_a_redirect_to_a_place_refused_is_refused(server: FaultServer, place: str) -> None:
    server.route = lambda _: Reply(302, headers={"Location": place})
    with pytest.raises(UpdateRejected, match="E_REDIRECT"):
        list(source(server).stream(ARTIFACT))


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("http://example.com/os.img", Code.POLICY),
        ("file:///etc/shadow", Code.PATH),
        ("https://user:secret@example.com/os.img", Code.PATH),
        ("https://example.com/os.img#part", Code.PATH),
        ("https://example.com/os\nimg", Code.PATH),
        ("https://example.com:port/", Code.PATH),
        ("https:///os.img", Code.PATH),
        ("os.img", Code.PATH),
        ("https://example.com/" + "x" * 3000, Code.PATH),
    ],
)
def test_an_address_that_is_not_plain_https_is_refused(
    server: FaultServer, address: str, code: Code
) -> None:
    with pytest.raises(UpdateRejected) as caught:
        list(source(server).stream(replace(ARTIFACT, url=address)))
    assert caught.value.code is code
    assert "secret" not in str(caught.value)


def test_a_server_that_drips_is_left_and_asked_again(server: FaultServer) -> None:
    dripping = [True]

    def answer(asked: Asked, reply: Reply) -> Reply:
        return replace(reply, pause=0.05) if dripping and dripping.pop() else reply

    server.on("", answer)
    assert b"".join(source(server).stream(ARTIFACT)) == BODY
    assert len(server.asked) == 2


def test_a_file_of_another_size_is_refused_before_a_byte_is_passed_on(server: FaultServer) -> None:
    server.route = lambda _: Reply(body=BODY + b"x")
    received = []
    with pytest.raises(UpdateRejected, match="E_LENGTH"):
        received += list(source(server).stream(ARTIFACT))
    assert received == []


def test_a_server_that_ignores_ranges_costs_the_bytes_again_and_nothing_else(
    server: FaultServer,
) -> None:
    whole = served(BODY, Asked("", {}))
    server.route = lambda asked: whole if "range" in asked.headers else replace(whole, cut=70_000)
    assert b"".join(source(server).stream(ARTIFACT)) == BODY


def test_a_part_that_begins_earlier_is_used_from_where_it_is_needed(server: FaultServer) -> None:
    earlier = {"Content-Range": f"bytes 65536-{len(BODY) - 1}/{len(BODY)}"}
    part = Reply(206, BODY[65536:], earlier)
    whole = served(BODY, Asked("", {}))
    server.route = lambda asked: part if "range" in asked.headers else replace(whole, cut=70_000)
    assert b"".join(source(server).stream(ARTIFACT)) == BODY
    assert len(server.asked) == 2


def test_a_server_that_lies_about_ranges_is_asked_for_the_whole(server: FaultServer) -> None:
    lie = Reply(206, BODY, {"Content-Range": f"bytes 99999-{len(BODY) - 1}/{len(BODY)}"})
    cuts = [70_000]

    def route(asked: Asked) -> Reply:
        if "range" in asked.headers:
            return lie
        return replace(served(BODY, asked), cut=cuts.pop() if cuts else None)

    server.route = route
    assert b"".join(source(server).stream(ARTIFACT)) == BODY
    assert ["range" in asked.headers for asked in server.asked] == [False, True, False]
