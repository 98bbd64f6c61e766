"""The bytes of every wire document are pinned: what a released agent reads must never change."""

from pathlib import Path

import pytest

from schemas.canonical import key_id, rollout_id, shard_of
from schemas.order import order
from schemas.wire.decode import decode, encode
from tests.support.documents import DESCRIPTOR, EXAMPLES, NEW

GOLDEN = Path(__file__).parent / "wire"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_encoding_of_a_document_never_changes(name: str) -> None:
    assert encode(EXAMPLES[name]) + b"\n" == (GOLDEN / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_was_written_is_read_back(name: str) -> None:
    document = EXAMPLES[name]
    assert decode(type(document), (GOLDEN / f"{name}.json").read_bytes()) == document


@pytest.mark.parametrize(
    ("device", "place"),
    [
        ("kiosk-0001", "3b650576b9ff849a"),
        ("kiosk-0002", "d1e271738b403dd4"),
        ("kiosk-0007", "eb6c233b41cf0bfe"),
    ],
)
def test_the_order_of_devices_is_protocol(device: str, place: str) -> None:
    assert order("r-8be01aa2", device) == place


def test_identifiers_are_protocol() -> None:
    assert NEW.id == "8afd3e57cbc47d8f"
    assert DESCRIPTOR.digest == (
        "sha256:6cf20cfb7a0328513a7643753d7d89520b3d8ef9598f94864f3a2aa3ad892f35"
    )
    assert rollout_id("kiosks-prod-eu", "9f31c07e00000000", 1) == "r-7d6a605c"
    assert key_id(b"not a real key") == (
        "sha256:5b71a88df7275813d065ebf04eae0914b5643f9e0407937eb432af1b68d9c020"
    )
    assert shard_of("sha256:d430" + "0" * 60) == "d43"
