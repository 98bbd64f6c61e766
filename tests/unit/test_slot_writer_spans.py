"""What is done with each range of a block, and which blocks are read for it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.install.slot_writer import (
    CHUNK,
    HOLE,
    PATIENCE,
    Curiosity,
    Fate,
    Span,
    spans,
)

NOISE = os.urandom(CHUNK)
ZEROS = bytes(CHUNK)
OTHER = bytes(byte ^ 1 for byte in NOISE)
MANY = HOLE // CHUNK  # chunks of zeros that are worth a hole


def block(*chunks: bytes) -> bytearray:
    return bytearray(b"".join(chunks))


def test_what_is_there_already_is_kept() -> None:
    same = block(NOISE, ZEROS, NOISE)
    assert spans(same, bytearray(same)) == (Span(Fate.KEPT, 0, len(same)),)


def test_one_bit_that_differs_costs_one_chunk() -> None:
    new = block(NOISE, NOISE, NOISE)
    old = bytearray(new)
    old[CHUNK + 7] ^= 1
    assert spans(new, old) == (
        Span(Fate.KEPT, 0, CHUNK),
        Span(Fate.WRITTEN, CHUNK, 2 * CHUNK),
        Span(Fate.KEPT, 2 * CHUNK, 3 * CHUNK),
    )


def test_where_nothing_is_known_all_is_written_at_once() -> None:
    new = block(NOISE, OTHER, NOISE)
    assert spans(new, None) == (Span(Fate.WRITTEN, 0, len(new)),)


def test_many_zeros_become_a_hole() -> None:
    new = block(NOISE, *[ZEROS] * MANY, NOISE)
    assert [span.fate for span in spans(new, None)] == [Fate.WRITTEN, Fate.ZEROED, Fate.WRITTEN]


def test_a_few_zeros_are_written_with_their_neighbours() -> None:
    new = block(NOISE, *[ZEROS] * (MANY - 1), NOISE)
    assert spans(new, None) == (Span(Fate.WRITTEN, 0, len(new)),)


def test_zeros_that_end_at_an_odd_place_are_written() -> None:
    new = block(*[ZEROS] * MANY, ZEROS[:100])
    assert spans(new, None) == (Span(Fate.WRITTEN, 0, len(new)),)


def test_zeros_over_zeros_are_kept() -> None:
    new = block(*[ZEROS] * MANY)
    assert spans(new, bytearray(len(new))) == (Span(Fate.KEPT, 0, len(new)),)


CHUNKS = st.lists(st.sampled_from([NOISE, OTHER, ZEROS, *[ZEROS] * 5]), max_size=30)


@given(new=CHUNKS, old=CHUNKS, tail=st.sampled_from([b"", b"\0", b"tail"]))
def test_spans_cover_the_block_without_gaps_and_only_what_is_there_is_kept(
    new: list[bytes], old: list[bytes], tail: bytes
) -> None:
    wanted = block(*new, tail)
    present = block(*old, bytes(len(wanted)))[: len(wanted)]
    result, at = bytearray(present), 0
    for span in spans(wanted, present):
        assert span.start == at
        at = span.end
        if span.fate is Fate.ZEROED:
            result[span.start : span.end] = bytes(span.length)
        elif span.fate is Fate.WRITTEN:
            result[span.start : span.end] = wanted[span.start : span.end]
    assert at == len(wanted)
    assert result == wanted


def test_where_nothing_is_the_same_only_some_blocks_are_read() -> None:
    curiosity = Curiosity()
    read = 0
    for _ in range(10 * PATIENCE):
        if curiosity.reads():
            read += 1
            curiosity.learn(common=False)
    assert read == PATIENCE + 9


@pytest.mark.parametrize("strange", [PATIENCE, 5 * PATIENCE])
def test_the_first_block_that_is_the_same_makes_every_block_be_read_again(strange: int) -> None:
    curiosity = Curiosity(strange=strange - 1)
    curiosity.learn(common=False)
    assert [curiosity.reads() for _ in range(PATIENCE)] == [False] * (PATIENCE - 1) + [True]
    curiosity.learn(common=True)
    assert all(curiosity.reads() for _ in range(3))
