"""A download over a bad network and a lying server ends with the exact bytes, or with an error."""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.errors import AgentError, UpdateRejected
from device_agent.fetch.download import HttpArtifactSource, Patience
from device_agent.fetch.http import CHUNK, HttpClient
from schemas.refusal import Code
from schemas.wire.descriptor import Artifact, Encoding
from tests.support.fault_server import Asked, FaultServer, Reply, served
from tests.support.trust_device import IMPATIENT, LOOPBACK

Fault = Callable[[Asked, Reply], Reply]
BODY = random.Random(7).randbytes(3 * CHUNK + 4321)
SMALL = random.Random(8).randbytes(1000)


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer(lambda _: Reply(404)) as server:
        yield server


def artifact_of(body: bytes) -> Artifact:
    return Artifact("", hashlib.sha256(body).hexdigest(), len(body), len(body), Encoding.RAW)


def download(server: FaultServer, body: bytes, faults: list[Fault]) -> bytes:
    """Return what arrives of `body` when the n-th request meets the n-th fault."""
    left = list(faults)

    def route(asked: Asked) -> Reply:
        reply = served(body, asked)
        return left.pop(0)(asked, reply) if left else reply

    server.route = route
    source = HttpArtifactSource(
        server.url,
        HttpClient(LOOPBACK, IMPATIENT),
        patience=Patience(fruitless=4, total=12),
        sleep=lambda _: None,
        chance=random.Random(1),
    )
    return b"".join(source.stream(artifact_of(body)))


def cut_at(position: int) -> Fault:
    return lambda _, reply: replace(reply, cut=position)


def places() -> set[int]:
    size = len(BODY)
    edges = {edge + d for edge in range(0, size, CHUNK) for d in (-1, 0, 1)}
    seeded = random.Random(50).sample(range(size), 50)
    return {0, 1, size - 1, size, *seeded} | {edge for edge in edges if 0 <= edge <= size}


def test_a_download_cut_anywhere_resumes_and_ends_with_the_exact_bytes(
    server: FaultServer,
) -> None:
    for place in sorted(places()):
        server.asked.clear()
        assert download(server, BODY, [cut_at(place)]) == BODY, place
        resumed = [asked.headers.get("range") for asked in server.asked[1:]]
        if 0 < place < len(BODY):
            assert resumed == [f"bytes={place}-"], place


def test_a_download_that_is_cut_again_and_again_goes_on_where_it_was(server: FaultServer) -> None:
    server.asked.clear()
    assert download(server, BODY, [cut_at(20_000)] * 8) == BODY
    assert [asked.headers.get("range") for asked in server.asked[1:4]] == [
        "bytes=20000-",
        "bytes=40000-",
        "bytes=60000-",
    ]


def shift(places: int) -> Fault:
    """Answer with the right bytes of another place, and say so; or with a lie about it."""

    def fault(asked: Asked, reply: Reply) -> Reply:
        first = max(0, len(SMALL) - len(reply.body) + places)
        span = f"bytes {first}-{len(SMALL) - 1}/{len(SMALL)}"
        return Reply(206, SMALL[first:], {"Content-Range": span})

    return fault


FAULTS: dict[str, st.SearchStrategy[Fault]] = {
    "cut": st.integers(0, 1000).map(cut_at),
    "claims more": st.integers(1, 50).map(
        lambda n: lambda _, r: replace(r, announced=len(r.body) + n)
    ),
    "claims less": st.integers(0, 900).map(
        lambda n: lambda _, r: replace(r, announced=min(n, len(r.body)))
    ),
    "says no length": st.just(lambda _, r: replace(r, announced=-1)),
    "goes on after the end": st.just(lambda _, r: replace(r, chunks=(r.body, b"more"))),
    "another place": st.integers(-300, 300).map(shift),
    "a lying Content-Range": st.integers(-300, 300).map(
        lambda n: (
            lambda _, r: replace(
                r,
                headers={"Content-Range": f"bytes {max(0, 500 + n)}-{len(SMALL) - 1}/{len(SMALL)}"},
            )
        )
    ),
    "a range nobody can read": st.sampled_from(["", "bytes */1000", "bytes 9-1/1000", "x"]).map(
        lambda text: lambda _, r: replace(r, status=206, headers={"Content-Range": text})
    ),
    "ignores the range": st.just(lambda *_: Reply(200, SMALL)),
    "the range cannot be satisfied": st.just(lambda *_: Reply(416)),
    "trouble": st.sampled_from([500, 502, 503, 429, 404]).map(
        lambda status: lambda *_: Reply(status)
    ),
    "other bytes": st.just(lambda _, r: replace(r, body=bytes(len(r.body)))),
    "a page": st.just(lambda *_: Reply(200, b"<html>", {"Content-Type": "text/html"})),
    "gzip": st.just(lambda _, r: replace(r, headers={"Content-Encoding": "gzip"})),
}


@settings(max_examples=150, deadline=None)
@given(faults=st.lists(st.one_of(*FAULTS.values()), max_size=5))
def test_whatever_the_server_does_the_bytes_are_exact_or_there_is_an_error(
    server: FaultServer, faults: list[Fault]
) -> None:
    try:
        data = download(server, SMALL, faults)
    except AgentError as error:
        assert str(error)
    else:
        assert data == SMALL


def test_never_more_than_the_signed_size_is_passed_on(server: FaultServer) -> None:
    server.route = lambda _: Reply(chunks=(BODY, b"x"))
    source = HttpArtifactSource(server.url, HttpClient(LOOPBACK, IMPATIENT))
    received = 0
    with pytest.raises(UpdateRejected) as caught:
        for chunk in source.stream(artifact_of(BODY)):
            received += len(chunk)
    assert caught.value.code is Code.LENGTH
    assert received <= len(BODY)
