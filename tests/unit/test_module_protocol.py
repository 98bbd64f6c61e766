"""Answers of Update Modules are read as strictly as Mender's client reads them."""

import pytest

from device_agent.core.component import RebootNeed
from device_agent.modules.protocol import ProtocolError, reboot_need, yes_or_no


@pytest.mark.parametrize(
    ("output", "meant"),
    [(b"Yes\n", True), (b"Yes", True), (b"Yes\n\n", True), (b"No\n", False), (b"", False)],
)
def test_yes_no_and_silence_are_answers(output: bytes, meant: bool) -> None:
    assert yes_or_no(output) is meant


@pytest.mark.parametrize(
    "output",
    [
        b"junk",
        b"yes",
        b"Yes ",
        b" Yes",
        b"Automatic",
        b"Yes\nextra",
        b"No\n\nlate",
        b"\xff",
        b"\nYes",
    ],
)
def test_anything_else_is_a_protocol_error(output: bytes) -> None:
    with pytest.raises(ProtocolError):
        yes_or_no(output)


@pytest.mark.parametrize(
    ("output", "need"),
    [
        (b"No\n", RebootNeed.NO),
        (b"", RebootNeed.NO),
        (b"Yes\n", RebootNeed.MODULE),
        (b"Automatic\n", RebootNeed.AGENT),
    ],
)
def test_who_reboots_is_read_from_the_answer(output: bytes, need: RebootNeed) -> None:
    assert reboot_need(output) is need


@pytest.mark.parametrize("output", [b"junk", b"automatic", b"Automatic\nextra line"])
def test_an_unclear_reboot_is_a_protocol_error(output: bytes) -> None:
    with pytest.raises(ProtocolError):
        reboot_need(output)
