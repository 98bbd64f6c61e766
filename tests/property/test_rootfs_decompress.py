"""Whatever the bytes: decompression gives exactly what was compressed, or an error."""

import gzip
import lzma
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.errors import UpdateRejected
from device_agent.install.decompress import PIECE, decompress
from schemas.refusal import Code
from schemas.wire.descriptor import Encoding

COMPRESSED = (Encoding.GZIP, Encoding.XZ, Encoding.ZSTD)
CONTENT = bytes(range(256)) * 40 + b"tail"


def zstd(content: bytes, *options: str) -> bytes:
    return subprocess.run(
        ["zstd", "-q", "-c", *options], input=content, capture_output=True, check=True
    ).stdout


def compress(encoding: Encoding, content: bytes) -> bytes:
    match encoding:
        case Encoding.RAW:
            return content
        case Encoding.GZIP:
            return gzip.compress(content)
        case Encoding.XZ:
            return lzma.compress(content)
        case Encoding.ZSTD:
            return zstd(content)


PACKED = {encoding: compress(encoding, CONTENT) for encoding in Encoding}


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def unpacked(encoding: Encoding, data: bytes, size: int = 1000) -> bytes:
    return b"".join(decompress(encoding, pieces(data, size)))


def refusal(encoding: Encoding, data: bytes) -> Code:
    with pytest.raises(UpdateRejected) as caught:
        unpacked(encoding, data)
    return caught.value.code


@pytest.mark.parametrize("encoding", Encoding)
@settings(max_examples=25, deadline=None)
@given(content=st.binary(max_size=5000), size=st.integers(1, 400))
def test_what_was_compressed_comes_out_in_chunks_of_any_size(
    encoding: Encoding, content: bytes, size: int
) -> None:
    assert unpacked(encoding, compress(encoding, content), size) == content


@pytest.mark.parametrize("encoding", COMPRESSED)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_cut_stream_is_refused_as_truncated(encoding: Encoding, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(PACKED[encoding]) - 1))
    assert refusal(encoding, PACKED[encoding][:cut]) is Code.TRUNCATED


@pytest.mark.parametrize("encoding", COMPRESSED)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_stream_gives_the_exact_bytes_or_is_refused(
    encoding: Encoding, data: st.DataObject
) -> None:
    damaged = bytearray(PACKED[encoding])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(UpdateRejected):
        assert unpacked(encoding, bytes(damaged)) == CONTENT


@pytest.mark.parametrize("encoding", COMPRESSED)
@settings(max_examples=40, deadline=None)
@given(garbage=st.binary(min_size=1, max_size=300))
def test_garbage_is_refused(encoding: Encoding, garbage: bytes) -> None:
    assert refusal(encoding, garbage) in (Code.FORMAT, Code.TRUNCATED, Code.LIMIT, Code.TRAILING)


@pytest.mark.parametrize("encoding", COMPRESSED)
@settings(max_examples=25, deadline=None)
@given(tail=st.binary(min_size=1, max_size=50))
def test_bytes_after_the_end_are_refused(encoding: Encoding, tail: bytes) -> None:
    assert refusal(encoding, PACKED[encoding] + tail) is Code.TRAILING


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_a_second_member_is_refused(encoding: Encoding) -> None:
    assert refusal(encoding, PACKED[encoding] * 2) is Code.TRAILING


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_a_bomb_comes_out_in_small_pieces(encoding: Encoding) -> None:
    bomb = compress(encoding, bytes(40 * PIECE))
    assert len(bomb) < PIECE
    assert max(map(len, decompress(encoding, [bomb]))) <= PIECE


@pytest.mark.parametrize("encoding", Encoding)
def test_the_source_is_read_to_its_end_so_that_its_own_check_happens(encoding: Encoding) -> None:
    asked = []

    def source() -> Iterator[bytes]:
        yield PACKED[encoding]
        asked.append("end")

    assert b"".join(decompress(encoding, source())) == CONTENT
    assert asked == ["end"]
