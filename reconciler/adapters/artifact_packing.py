"""Compresses and unpacks the archives inside an artifact, as files and as streams."""

import gzip
import lzma
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from reconciler.adapters.dir_blobs import measure
from reconciler.errors import ReleaseRefused, Unavailable
from schemas.refusal import Code, Refusal
from schemas.wire.descriptor import Encoding

PIECE = 256 * 1024  # bytes
XZ_MEMORY = 66 * 1024 * 1024  # bytes: mender-artifact's dictionary of 64 MiB, and liblzma's state
STALL = 60.0  # seconds for zstd to end after its last byte

Pieces = Generator[bytes, None, None]
Write = Callable[[bytes], object]


@contextmanager
def packing(path: Path, encoding: Encoding) -> Iterator[Write]:
    """Make `path`: what is written inside the block, compressed. The same bytes give the same file.

    Raises Unavailable (zstd is missing or fails) and OSError.
    """
    match encoding:
        case Encoding.RAW:
            with path.open("wb") as plain:
                yield plain.write
        case Encoding.GZIP:
            with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
                yield packed.write
        case Encoding.XZ:
            with lzma.open(path, "wb", preset=6) as xz:
                yield xz.write
        case Encoding.ZSTD:
            with path.open("wb") as file, _zstd(["-19"], subprocess.PIPE, file) as child:
                assert child.stdin  # noqa: S101 - a pipe was asked for
                yield child.stdin.write
                child.stdin.close()
                if child.wait(STALL):
                    raise Unavailable(f"{path}: zstd cannot write it")


def unpack(encoding: Encoding, chunks: Iterable[bytes]) -> Pieces:
    """Yield the content of the one member in `chunks`. Raises Refusal, Unavailable."""
    match encoding:
        case Encoding.RAW:
            return _as_it_is(chunks)
        case Encoding.GZIP:
            return _gunzip(chunks)
        case Encoding.XZ:
            return _unxz(chunks)
        case Encoding.ZSTD:
            return _unzstd(chunks)


def _as_it_is(chunks: Iterable[bytes]) -> Pieces:
    yield from chunks


def _gunzip(chunks: Iterable[bytes]) -> Pieces:
    engine = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        for chunk in chunks:
            left = chunk
            while left:
                if engine.eof:
                    raise Refusal(Code.TRAILING, "bytes after the end of the gzip member")
                yield engine.decompress(left, PIECE)
                left = engine.unconsumed_tail or engine.unused_data
        while not engine.eof and (piece := engine.decompress(b"", PIECE)):
            yield piece
    except zlib.error as error:
        raise Refusal(Code.FORMAT, f"not gzip: {error}") from error
    if not engine.eof:
        raise Refusal(Code.TRUNCATED, "the gzip member is cut off")


def _unxz(chunks: Iterable[bytes]) -> Pieces:
    engine = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
    try:
        for chunk in chunks:
            left = chunk
            while not engine.eof and (left or not engine.needs_input):
                yield engine.decompress(left, PIECE)
                left = b""
            if engine.eof and (left or engine.unused_data):
                raise Refusal(Code.TRAILING, "bytes after the end of the xz stream")
    except lzma.LZMAError as error:
        raise Refusal(Code.FORMAT, f"not xz: {error}") from error
    if not engine.eof:
        raise Refusal(Code.TRUNCATED, "the xz stream is cut off")


def _unzstd(chunks: Iterable[bytes]) -> Pieces:
    """Spool the frame on the operator's disk, and measure it before it is unpacked."""
    with tempfile.NamedTemporaryFile(suffix=".zst") as spool:
        for chunk in chunks:
            spool.write(chunk)
        spool.flush()
        spool.seek(0)
        try:
            measure(Path(spool.name), Encoding.ZSTD)
        except ReleaseRefused as error:
            raise Refusal(Code.FORMAT, f"not one zstd frame: {error}") from error
        with _zstd(["--decompress"], spool.file, subprocess.PIPE) as child:
            assert child.stdout  # noqa: S101 - a pipe was asked for
            while piece := child.stdout.read(PIECE):
                yield piece


@contextmanager
def _zstd(
    options: list[str], source: int | IO[bytes], target: int | IO[bytes]
) -> Iterator["subprocess.Popen[bytes]"]:
    argv = ["zstd", "--quiet", "--stdout", *options]
    try:
        child = subprocess.Popen(argv, stdin=source, stdout=target)
    except OSError as error:
        raise Unavailable(f"cannot start zstd ({error.strerror}); install zstd") from error
    try:
        yield child
    finally:
        child.kill()
        child.wait(STALL)
        for pipe in (child.stdin, child.stdout):
            if pipe:
                pipe.close()
