"""Decompression of artifacts as a stream: exactly one member, bounded memory, bounded pieces."""

import lzma
import zlib
from collections.abc import Generator, Iterable, Iterator

from device_agent.errors import UpdateRejected
from device_agent.install.zstd import unzstd
from schemas.refusal import Code
from schemas.wire.descriptor import Encoding
from schemas.wire.report import FailureClass

PIECE = 256 * 1024  # bytes; a bomb is noticed by the consumer after at most this much
XZ_DICTIONARY = 16 * 1024 * 1024  # bytes

_XZ_STATE = 2 * 1024 * 1024  # bytes: what liblzma needs beside the dictionary

Pieces = Generator[bytes, None, None]


def decompress(
    encoding: Encoding, chunks: Iterable[bytes], *, xz_dictionary: int = XZ_DICTIONARY
) -> Pieces:
    """Yield the content of `chunks`, in pieces that are small whatever the ratio.

    `chunks` is always read to its end, so that its own final check takes place. The consumer bounds
    the length, and closes the generator when it stops early. Raises UpdateRejected: E_FORMAT,
    E_TRUNCATED, E_TRAILING (bytes after the one member), E_LIMIT (needs more than 16 MiB;
    for xz, a dictionary of over `xz_dictionary` bytes).
    """
    match encoding:
        case Encoding.RAW:
            return _as_it_is(chunks)
        case Encoding.GZIP:
            return _gunzip(chunks)
        case Encoding.XZ:
            return _unxz(chunks, xz_dictionary)
        case Encoding.ZSTD:
            return unzstd(chunks)


def _as_it_is(chunks: Iterable[bytes]) -> Pieces:
    yield from chunks


def _gunzip(chunks: Iterable[bytes]) -> Pieces:
    engine = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: a gzip header, nothing else
    try:
        for chunk in chunks:
            left = chunk
            while left:
                if engine.eof:
                    raise _refused(Code.TRAILING, "bytes after the end of the gzip member")
                yield from _some(engine.decompress(left, PIECE))
                left = engine.unconsumed_tail or engine.unused_data
        while not engine.eof and (piece := engine.decompress(b"", PIECE)):
            yield piece
    except zlib.error as error:
        raise _refused(Code.FORMAT, f"not gzip: {error}") from error
    if not engine.eof:
        raise _refused(Code.TRUNCATED, "the gzip member is cut off")


def _unxz(chunks: Iterable[bytes], dictionary: int) -> Pieces:
    engine = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=dictionary + _XZ_STATE)
    try:
        for chunk in chunks:
            if engine.eof and chunk:
                raise _refused(Code.TRAILING, "bytes after the end of the xz stream")
            left = chunk
            while not engine.eof and (left or not engine.needs_input):
                yield from _some(engine.decompress(left, PIECE))
                left = b""
            if engine.unused_data:
                raise _refused(Code.TRAILING, "bytes after the end of the xz stream")
    except lzma.LZMAError as error:
        if "limit" in str(error):  # lzma has one exception class for everything
            raise _refused(
                Code.LIMIT,
                f"the xz dictionary is over {dictionary >> 20} MiB; compress with `xz -7` or less",
            ) from error
        raise _refused(Code.FORMAT, f"not xz: {error}") from error
    if not engine.eof:
        raise _refused(Code.TRUNCATED, "the xz stream is cut off")


def _some(piece: bytes) -> Iterator[bytes]:
    if piece:
        yield piece


def _refused(code: Code, message: str) -> UpdateRejected:
    return UpdateRejected(code, message, FailureClass.DOWNLOAD)
