"""Whatever the bytes: an artifact gives exactly its files, or is refused."""

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.errors import UpdateRejected
from schemas.artifact import manifest
from schemas.artifact.ustar import Member, build, parse
from schemas.refusal import Code, Refusal
from schemas.wire.descriptor import Encoding
from tests.support.artifact_keys import SIGNERS
from tests.support.artifacts import FILES, Build, assemble, member, read, refusal

SIGNED = Build(sign=SIGNERS["ecdsa as r and s"], meta_data=b'{"a":1.5}')
SEVERAL = ({"a": b"1" * 1000, "b": b""}, None, {"a": b"other"})

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+~-]{0,40}", fullmatch=True)


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("size", [1, 7, 512, 1000, 1 << 20])
def test_an_artifact_gives_its_files_in_chunks_of_any_size(encoding: Encoding, size: int) -> None:
    build = Build(payloads=SEVERAL, encoding=encoding, scripts=("ArtifactInstall_Enter_00",))
    assert read(build.bytes(), size=size) == {
        (0, "a"): b"1" * 1000,
        (0, "b"): b"",
        (2, "a"): b"other",
    }


@settings(max_examples=60, deadline=None)
@given(
    payloads=st.lists(
        st.none() | st.dictionaries(NAMES, st.binary(max_size=2000), max_size=4),
        min_size=1,
        max_size=4,
    ),
    encoding=st.sampled_from([Encoding.RAW, Encoding.GZIP, Encoding.XZ]),
    size=st.integers(1, 3000),
)
def test_what_was_put_in_comes_out(
    payloads: list[dict[str, bytes] | None], encoding: Encoding, size: int
) -> None:
    data = Build(payloads=tuple(payloads), encoding=encoding).bytes()
    expected = {
        (index, name): content
        for index, files in enumerate(payloads)
        for name, content in (files or {}).items()
    }
    assert read(data, size=size) == expected


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=3000))
def test_any_bytes_are_refused_in_words(data: bytes) -> None:
    assert refusal(data).message


@settings(max_examples=300, deadline=None)
@given(data=st.data(), encoding=st.sampled_from([Encoding.RAW, Encoding.GZIP, Encoding.XZ]))
def test_an_artifact_with_changed_bytes_gives_the_same_files_or_is_refused(
    data: st.DataObject, encoding: Encoding
) -> None:
    whole = bytearray(Build(encoding=encoding).bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UpdateRejected):
        assert read(bytes(whole)) == {(0, name): each for name, each in FILES.items()}


@settings(max_examples=300, deadline=None)
@given(header=st.binary(max_size=600), size=st.integers(1, 600))
def test_a_member_with_any_header_is_a_refusal_or_inside(header: bytes, size: int) -> None:
    block = bytearray(member("x", b"")[:512])
    block[: len(header[:100])] = header[:100]
    block[124:136] = header[100:112].ljust(12, b"\0")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    with suppress(Refusal):
        found = parse(bytes(block))
        assert 0 <= found.size < 8**11
        assert not found.name.startswith("/")
        assert not {"", ".", ".."} & set(found.name.split("/"))


@settings(max_examples=200, deadline=None)
@given(name=NAMES, size=st.integers(0, 8**11 - 1))
def test_a_header_block_that_we_build_is_read_back(name: str, size: int) -> None:
    assert parse(build(Member(name, size))) == Member(name, size)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400) | st.text(alphabet="0af \n  x/.", max_size=300).map(str.encode))
def test_any_manifest_is_read_or_refused(data: bytes) -> None:
    with suppress(Refusal):
        manifest.parse(data)


def cut_is_noticed(whole: bytes, at: int) -> bool:
    return refusal(whole[:at]).code == Code.TRUNCATED


def test_53_an_artifact_cut_at_any_byte_is_refused_as_truncated() -> None:
    whole = SIGNED.bytes()
    assert [at for at in range(len(whole)) if not cut_is_noticed(whole, at)] == []


@pytest.mark.parametrize("encoding", [Encoding.GZIP, Encoding.XZ])
def test_53_a_compressed_artifact_cut_at_any_byte_is_refused_as_truncated(
    encoding: Encoding,
) -> None:
    whole = Build(encoding=encoding).bytes()
    assert [at for at in range(len(whole)) if not cut_is_noticed(whole, at)] == []


@pytest.mark.parametrize("encoding", Encoding)
def test_53_a_large_artifact_cut_anywhere_is_refused_as_truncated(encoding: Encoding) -> None:
    draw = random.Random(53)
    files = {"big": draw.randbytes(300_000), "more": bytes(100_000)}
    whole = Build(payloads=(files,), encoding=encoding).bytes()
    cuts = [draw.randrange(len(whole)) for _ in range(40)] + [len(whole) - 1, len(whole) - 513]
    assert [at for at in cuts if not cut_is_noticed(whole, at)] == []


@pytest.mark.parametrize("encoding", [Encoding.GZIP, Encoding.XZ, Encoding.ZSTD])
def test_53_a_payload_cut_inside_its_compression_is_refused(encoding: Encoding) -> None:
    parts = Build(encoding=encoding).parts()
    *_, name = parts
    for missing in (1, 4, 9, len(parts[name]) // 2):
        data = parts | {name: parts[name][:-missing]}
        assert refusal(assemble(data.items())).code == Code.TRUNCATED
