"""Decompression: what it needs of a device is bounded, and what it refuses it refuses by name."""

import lzma
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.errors import InstallFailed, TransientError, UpdateRejected
from device_agent.install import zstd
from device_agent.install.decompress import decompress
from schemas.refusal import Code
from schemas.wire.descriptor import Encoding
from schemas.wire.report import FailureClass

MAGIC = b"\x28\xb5\x2f\xfd"
LAST_RAW_BLOCK = struct.pack("<I", 1 | 2 << 3)[:3] + b"ok"


def refused(encoding: Encoding, data: bytes) -> UpdateRejected:
    with pytest.raises(UpdateRejected) as caught:
        b"".join(decompress(encoding, [data]))
    return caught.value


def packed(content: bytes, *options: str) -> bytes:
    return subprocess.run(
        ["zstd", "-q", "-c", *options], input=content, capture_output=True, check=True
    ).stdout


def xz(dictionary: int) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": dictionary}]
    return lzma.compress(b"x" * 1000, format=lzma.FORMAT_XZ, filters=filters)


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_hand_made_zstd_frame_is_accepted() -> None:
    frame = MAGIC + bytes([0x20, 2]) + LAST_RAW_BLOCK
    assert b"".join(decompress(Encoding.ZSTD, [frame])) == b"ok"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (bytes([0x00, (31 - 10) << 3]), Code.LIMIT),  # a window of 2 GiB
        (bytes([0x00, (24 - 10) << 3 | 1]), Code.LIMIT),  # one step over 16 MiB
        (bytes([0xA0]) + struct.pack("<I", 16 * 1024 * 1024 + 1), Code.LIMIT),  # one segment
        (bytes([0x21, 7, 2]), Code.FORMAT),  # a dictionary id
        (bytes([0x28, 2]), Code.FORMAT),  # the reserved bit
    ],
)
def test_a_zstd_frame_that_a_device_must_not_decode_is_refused(header: bytes, code: Code) -> None:
    assert refused(Encoding.ZSTD, MAGIC + header + LAST_RAW_BLOCK).code is code


def test_a_window_of_exactly_16_mib_is_accepted() -> None:
    content = bytes(17 * 1024 * 1024)
    data = packed(content, "-1", "--long=24")
    assert b"".join(decompress(Encoding.ZSTD, [data])) == content


def test_a_long_window_made_by_the_program_is_refused_with_the_remedy() -> None:
    data = packed(bytes(40 * 1024 * 1024), "-1", "--long=27")
    assert refused(Encoding.ZSTD, data).code is Code.LIMIT
    assert "--long" in refused(Encoding.ZSTD, data).message


def test_a_skippable_frame_is_refused() -> None:
    skippable = struct.pack("<II", 0x184D2A50, 4) + b"skip"
    assert refused(Encoding.ZSTD, skippable + packed(b"x")).code is Code.FORMAT
    assert refused(Encoding.ZSTD, packed(b"x") + skippable).code is Code.TRAILING


def test_a_zstd_block_of_the_reserved_type_is_refused() -> None:
    frame = MAGIC + bytes([0x20, 2]) + struct.pack("<I", 1 | 3 << 1 | 2 << 3)[:3] + b"ok"
    assert refused(Encoding.ZSTD, frame).code is Code.FORMAT


def test_a_wrong_zstd_checksum_is_refused_with_what_the_program_says() -> None:
    data = packed(b"content" * 100, "--check")
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    assert refused(Encoding.ZSTD, wrong).code is Code.FORMAT
    assert "checksum" in refused(Encoding.ZSTD, wrong).message.lower()


def test_an_xz_dictionary_of_16_mib_is_accepted_and_a_larger_one_refused() -> None:
    assert b"".join(decompress(Encoding.XZ, [xz(16 << 20)])) == b"x" * 1000
    assert refused(Encoding.XZ, xz(32 << 20)).code is Code.LIMIT


def test_a_missing_zstd_program_is_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InstallFailed, match="install the zstd program") as caught:
        list(decompress(Encoding.ZSTD, [b"x"]))
    assert caught.value.failure is FailureClass.PREINSTALL


def stand_in(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = directory / "zstd"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_a_zstd_program_that_hangs_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packed(b"content")
    stand_in(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(zstd, "STALL", 0.2)
    before = children()
    with pytest.raises(InstallFailed, match="no progress"):
        list(decompress(Encoding.ZSTD, [data]))
    assert children() == before


def test_a_zstd_program_that_dies_early_is_an_error_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packed(os.urandom(1_000_000))
    stand_in(tmp_path, monkeypatch, "echo out of memory >&2; exit 1")
    assert refused(Encoding.ZSTD, data).message == "out of memory"


def test_the_memory_of_the_zstd_program_is_capped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packed(b"content")
    stand_in(tmp_path, monkeypatch, "read line; ulimit -v; cat >/dev/null")
    shown = b"".join(decompress(Encoding.ZSTD, [data[:4], b"", data[4:]]))
    assert int(shown) * 1024 == zstd.ADDRESS_SPACE


def test_no_child_is_left_when_the_source_or_the_consumer_gives_up() -> None:
    def broken() -> Iterator[bytes]:
        yield packed(os.urandom(300_000))[:1000]
        raise TransientError("the network is gone")

    before = children()
    with pytest.raises(TransientError):
        list(decompress(Encoding.ZSTD, broken()))
    assert children() == before
    stream = decompress(Encoding.ZSTD, [packed(bytes(5_000_000))])
    next(stream)
    stream.close()
    assert children() == before
