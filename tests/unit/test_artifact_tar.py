"""The tar headers that are understood, and what is not."""

import pytest

from schemas.artifact.archive import Archive
from schemas.artifact.ustar import Member, build, parse
from schemas.refusal import Code, Refusal
from tests.support.artifacts import BLOCK, ENDS, member, tar

MAGIC, PREFIX, CHECKSUM = slice(257, 265), slice(345, 500), slice(148, 156)


def changed(place: slice, content: bytes, magic: bytes = b"ustar\x0000") -> bytes:
    """Return the header of `app.bin` with something else in it, and the right checksum."""
    block = bytearray(member("app.bin"))
    block[MAGIC] = magic
    block[place.start : place.start + len(content)] = content
    block[CHECKSUM] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return bytes(block)


def code_of(data: bytes) -> Code:
    archive = Archive([data], "test", 10)
    with pytest.raises(Refusal) as caught:
        while archive.peek():
            archive.leave()
    return caught.value.code


def test_a_prefix_is_part_of_the_name() -> None:
    assert parse(changed(PREFIX, b"data")) == Member("data/app.bin", 0)


def test_a_prefix_does_not_lead_out() -> None:
    assert code_of(changed(PREFIX, b"..") + ENDS) == Code.PATH


def test_a_plain_gnu_header_is_understood() -> None:
    assert parse(changed(MAGIC, b"ustar  \0")) == Member("app.bin", 0)


def test_a_gnu_header_with_extensions_is_refused() -> None:
    assert code_of(changed(PREFIX, b"x", magic=b"ustar  \0") + ENDS) == Code.FORMAT


@pytest.mark.parametrize("magic", [bytes(8), b"ustar\x0001", b"tar\0\0\0\0\0"])
def test_an_older_or_newer_header_is_refused(magic: bytes) -> None:
    assert code_of(changed(MAGIC, magic) + ENDS) == Code.FORMAT


@pytest.mark.parametrize("at", [0, 100, 130, 156, 300, 511])
def test_a_header_whose_checksum_is_wrong_is_refused(at: int) -> None:
    block = bytearray(member("app.bin"))
    block[at] ^= 1
    assert code_of(bytes(block) + ENDS) == Code.FORMAT


def test_something_hidden_in_the_padding_is_refused() -> None:
    data = member("app.bin", b"x")
    assert code_of(data[:-1] + b"h" + ENDS) == Code.FORMAT


@pytest.mark.parametrize("more", [b"x" * BLOCK, b"x" * BLOCK + bytes(BLOCK)])
def test_one_block_of_zeros_ends_an_archive_but_does_not_hide_what_follows(more: bytes) -> None:
    assert code_of(member("app.bin") + bytes(BLOCK) + more) == Code.TRAILING


@pytest.mark.parametrize("ends", [b"", bytes(BLOCK), bytes(2 * BLOCK - 1)])
def test_an_archive_without_its_end_is_cut_off(ends: bytes) -> None:
    assert code_of(member("app.bin") + ends) == Code.TRUNCATED


def test_an_archive_of_nothing_has_no_members() -> None:
    assert Archive([tar()], "test", 10).peek() is None


@pytest.mark.parametrize("empty", range(3))
def test_chunks_of_no_bytes_are_not_the_end(empty: int) -> None:
    data = tar(member("app.bin", b"x"))
    chunks = [data[:700], data[700:1000], data[1000:]]
    chunks.insert(empty, b"")
    archive = Archive(chunks, "test", 10)
    assert archive.peek() == Member("app.bin", 1)
    assert b"".join(archive.content()) == b"x"
    archive.leave()
    assert archive.peek() is None


@pytest.mark.parametrize("wrong", [Member("../x", 0), Member("x" * 101, 0), Member("x", 8**11)])
def test_a_header_that_could_not_be_read_is_not_built(wrong: Member) -> None:
    with pytest.raises(Refusal):
        build(wrong)
