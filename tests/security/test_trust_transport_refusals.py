"""What servers and networks do to metadata on the way, and how it is told from an attack.

The numbers are those of tests/security/cases.toml.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from device_agent.errors import TransientError
from schemas.refusal import Code
from tests.support.fault_server import Asked, Reply
from tests.support.trust_device import (
    TrustDevice,
    trusting_device,
)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[TrustDevice]:
    with trusting_device(tmp_path) as device:
        yield device


PADDED = b"{" + b" " * 5000 + b"}"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=PADDED),
        Reply(body=PADDED, announced=-1, cut=len(PADDED)),
        Reply(endless=b" " * 4096),
        Reply(headers={"Content-Encoding": "gzip"}, body=gzip.compress(bytes(50_000_000))),
    ],
    ids=["long", "no length announced", "chunked without end", "a gzip bomb"],
)
def test_29_30_a_timestamp_without_end_is_refused_at_its_limit(
    device: TrustDevice, reply: Reply
) -> None:
    device.server.on("timestamp", lambda *_: reply)
    with device.refused(Code.LENGTH):
        device.trust().refresh()


def test_29_a_length_that_promises_more_than_comes_is_the_networks_fault(
    device: TrustDevice,
) -> None:
    device.tree.refresh_timestamp()
    device.server.on("timestamp", lambda _, reply: replace(reply, announced=len(reply.body) + 10))
    the_network_is_blamed(device, "E_NETWORK")


def test_29_a_length_that_promises_less_than_comes_is_refused(device: TrustDevice) -> None:
    device.tree.refresh_timestamp()
    device.server.on("timestamp", lambda _, reply: replace(reply, announced=100))
    with device.refused(Code.FORMAT):
        device.trust().refresh()


def test_30_gzip_that_was_asked_for_is_understood(device: TrustDevice) -> None:
    device.tree.refresh_timestamp()
    device.server.on("json", compressed)
    assert device.trust().refresh().timestamp_version == 4


def compressed(asked: Asked, reply: Reply) -> Reply:
    if reply.status != 200:
        return reply
    headers = {**reply.headers, "Content-Encoding": "gzip"}
    return replace(reply, body=gzip.compress(reply.body), headers=headers)


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_30_an_encoding_that_was_not_asked_for_is_refused(
    device: TrustDevice, encoding: str
) -> None:
    headers = {"Content-Encoding": encoding}
    device.server.on("timestamp", lambda *_: Reply(body=zlib.compress(b"{}"), headers=headers))
    with device.refused(Code.ENCODING):
        device.trust().refresh()


def test_30_gzip_with_bytes_after_it_is_refused(device: TrustDevice) -> None:
    def trailing(asked: Asked, reply: Reply) -> Reply:
        packed = compressed(asked, reply)
        return replace(packed, body=packed.body + gzip.compress(b"more"))

    device.tree.refresh_timestamp()
    device.server.on("timestamp", trailing)
    with device.refused(Code.TRAILING):
        device.trust().refresh()


@pytest.mark.parametrize(
    "reply",
    [Reply(body=b"{" * 4000, pause=0.05), Reply(body=b"{" * 4000, header_pause=0.05)],
    ids=["body", "headers"],
)
def test_31_a_server_that_drips_is_left_within_the_deadline(
    device: TrustDevice, reply: Reply
) -> None:
    device.server.on("timestamp", lambda *_: reply)
    start = device.clock.monotonic()
    the_network_is_blamed(device, "E_SLOW")
    assert device.clock.monotonic() - start < 5


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["http://127.0.0.1/x", "https://elsewhere.example/", "/same"])
def test_32_metadata_is_not_fetched_through_redirects(
    device: TrustDevice, status: int, place: str
) -> None:
    device.server.on("timestamp", lambda *_: Reply(status, headers={"Location": place}))
    with device.refused(Code.REDIRECT):
        device.trust().refresh()


@pytest.mark.parametrize("path", ["2.root.json", "timestamp.json"])
def test_33_a_captive_portal_is_the_network_and_no_attack(device: TrustDevice, path: str) -> None:
    page = Reply(body=b"\n<!DOCTYPE html><title>Log in to the hotel</title>")
    device.server.on(path, lambda *_: page)
    the_network_is_blamed(device, "captive portal")


@pytest.mark.parametrize("status", [400, 401, 408, 429, 500, 502, 503, 504])
def test_34_a_server_in_trouble_is_asked_again_later(device: TrustDevice, status: int) -> None:
    device.server.on("timestamp", lambda *_: Reply(status))
    the_network_is_blamed(device, str(status))


def the_network_is_blamed(device: TrustDevice, reason: str) -> None:
    floor = device.floor()
    with pytest.raises(TransientError, match=reason):
        device.trust().refresh()
    assert device.floor() == floor


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text[:-1] + b',"signed":{}}', Code.DUP),
        (lambda text: text.replace(b'"version":4', b'"version":NaN'), Code.FORMAT),
        (lambda text: text.replace(b'"version":4', b'"version":1e400'), Code.FORMAT),
        (lambda text: text.replace(b'"version":4', b'"version":4.0'), Code.FORMAT),
        (lambda text: text.replace(b'"version":4', b'"version":"4"'), Code.FORMAT),
        (lambda text: text.replace(b'"version":4', b'"version":-1'), Code.FORMAT),
        (lambda text: text.replace(b'"version":4', b'"version":true'), Code.FORMAT),
        (lambda text: text.replace(b'"version":4', b'"version":' + b"9" * 400), Code.FORMAT),
        (lambda text: text[:-1] + b',"x":' + b"[" * 1500 + b"]" * 1500 + b"}", Code.DEPTH),
        (lambda text: text + b"{}", Code.FORMAT),
        (lambda _: b"[]", Code.FORMAT),
        (lambda _: b"", Code.FORMAT),
        (lambda text: text[:-1] + b',"x":"\xff"}', Code.ENCODING),
    ],
)
def test_35_what_is_not_strict_json_is_refused(
    device: TrustDevice, change: Callable[[bytes], bytes], code: Code
) -> None:
    device.tree.refresh_timestamp()
    device.server.on("timestamp", lambda _, reply: replace(reply, body=change(reply.body)))
    with device.refused(code):
        device.trust().refresh()


@pytest.mark.parametrize("wrong", [True, "4", 0, -1, None, [4]])
def test_35_a_version_that_is_no_positive_integer_is_refused_even_signed(
    device: TrustDevice, wrong: Any
) -> None:
    device.tree.write_timestamp(change=lambda signed: signed.update(version=wrong))
    with device.refused(Code.FORMAT):
        device.trust().refresh()


@pytest.mark.parametrize("issued", [None, 17, "yesterday", "2026-11-24T07:00:00+01:00"])
def test_35_a_timestamp_without_a_time_is_refused(device: TrustDevice, issued: Any) -> None:
    device.tree.timestamp.version += 1
    device.tree.write_timestamp(change=lambda signed: signed.update(issued=issued))
    with device.refused(Code.FORMAT):
        device.trust().refresh()


def test_36_a_root_that_names_a_key_of_an_unknown_scheme_is_refused(device: TrustDevice) -> None:
    key = device.tree.keys["timestamp"].public_key
    device.tree.root.version += 1
    device.tree.root.keys[key.keyid].scheme = "rot13"
    device.tree.write_root()
    device.tree.refresh_timestamp()
    with device.refused(Code.FORMAT):
        device.trust().refresh()


def test_36_a_key_that_nobody_trusts_has_signed_nothing(device: TrustDevice) -> None:
    device.tree.keys["timestamp"] = CryptoSigner.generate_ed25519()
    device.tree.refresh_timestamp()
    with device.refused(Code.SIGNATURE):
        device.trust().refresh()


def test_37_a_snapshot_served_as_a_timestamp_is_refused(device: TrustDevice) -> None:
    device.tree.write("timestamp.json", device.tree.read("1.snapshot.json"))
    with device.refused(Code.FORMAT):
        device.trust().refresh()
