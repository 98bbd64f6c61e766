"""Artifacts: measured as devices will see them, and put under their digest in the tree."""

import contextlib
import hashlib
import lzma
import os
import re
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.adapters.durable import flush_directory, make_directory
from reconciler.errors import ReleaseRefused, Unavailable
from schemas.refusal import Code
from schemas.wire.descriptor import Encoding

PIECE = 1024 * 1024  # bytes
MAX_UNCOMPRESSED = 256 * 1024**3  # bytes; what decompresses to more is a mistake or an attack
MAX_WINDOW = 16 * 1024 * 1024  # bytes a device must hold to decompress
XZ_MEMORY = MAX_WINDOW + 2 * 1024 * 1024  # bytes: the dictionary and liblzma's own state
ZSTD_TIMEOUT = 60.0  # seconds for `zstd --list`, and for its end after the last byte

_MAGIC = {
    b"\x1f\x8b": Encoding.GZIP,
    b"\xfd7zXZ\x00": Encoding.XZ,
    b"\x28\xb5\x2f\xfd": Encoding.ZSTD,
}
_FRAMES = re.compile(r"Zstandard Frames: (\d+)")
_SKIPPABLE = re.compile(r"Skippable Frames: (\d+)")
_WINDOW = re.compile(r"Window Size: .*\((\d+) B\)")


@dataclass(frozen=True, slots=True)
class Measured:
    """What a descriptor says of an artifact's bytes; sizes in bytes."""

    sha256: str
    size: int
    uncompressed_size: int
    encoding: Encoding


def measure(file: Path, encoding: Encoding | None = None) -> Measured:
    """Read `file` through, as a stream. Its first bytes tell the encoding, if none is named.

    Raises ReleaseRefused for what devices would refuse: not exactly one member, a window over
    16 MiB (E_LIMIT), an empty file. Raises Unavailable when it cannot be read.
    """
    try:
        digest, size = _hashed(file)
        kind = encoding or _by_magic(file)
        unpacked = size if kind is Encoding.RAW else _unpacked_size(file, kind)
    except OSError as error:
        raise Unavailable(f"{file}: {error.strerror or error}") from error
    if size == 0 or unpacked == 0:
        raise _refused(file, Code.LENGTH, "it is empty")
    return Measured(digest, size, unpacked, kind)


def store(file: Path, place: Path, sha256: str) -> bool:
    """Copy `file` durably to `place` in the tree; return whether that was necessary.

    Raises Unavailable (no space, or the file changed since it was measured).
    """
    if place.is_file():
        return False
    try:
        make_directory(place.parent)
        fd, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=place.parent)
        try:
            with os.fdopen(fd, "wb") as copy:
                digest = hashlib.sha256()
                for piece in _pieces(file):
                    digest.update(piece)
                    copy.write(piece)
                copy.flush()
                os.fchmod(copy.fileno(), 0o644)
                os.fsync(copy.fileno())
            if digest.hexdigest() != sha256:
                raise Unavailable(f"{file} changed while it was read; run it again")
            Path(name).replace(place)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        flush_directory(place.parent)
    except OSError as error:
        raise Unavailable(f"{place}: {error.strerror or error}") from error
    return True


def _hashed(file: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(file):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            yield piece


def _by_magic(file: Path) -> Encoding:
    with file.open("rb") as stream:
        head = stream.read(8)
    return next((e for magic, e in _MAGIC.items() if head.startswith(magic)), Encoding.RAW)


def _unpacked_size(file: Path, encoding: Encoding) -> int:
    unpack = {Encoding.GZIP: _gunzip, Encoding.XZ: _unxz, Encoding.ZSTD: _unzstd}[encoding]
    total = 0
    for length in unpack(file):
        total += length
        if total > MAX_UNCOMPRESSED:
            raise _refused(file, Code.LIMIT, f"it unpacks to more than {MAX_UNCOMPRESSED} bytes")
    return total


def _gunzip(file: Path) -> Iterator[int]:
    engine = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        for piece in _pieces(file):
            left = piece
            while left:
                if engine.eof:
                    raise _refused(file, Code.TRAILING, "it goes on after its gzip member")
                yield len(engine.decompress(left, PIECE))
                left = engine.unconsumed_tail or engine.unused_data
        while not engine.eof and (rest := engine.decompress(b"", PIECE)):
            yield len(rest)
    except zlib.error as error:
        raise _refused(file, Code.FORMAT, f"it is not gzip: {error}") from error
    if not engine.eof:
        raise _refused(file, Code.TRUNCATED, "its gzip member is cut off")


def _unxz(file: Path) -> Iterator[int]:
    engine = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
    try:
        for piece in _pieces(file):
            if engine.eof or engine.unused_data:
                raise _refused(file, Code.TRAILING, "it goes on after its xz stream")
            left = piece
            while not engine.eof and (left or not engine.needs_input):
                yield len(engine.decompress(left, PIECE))
                left = b""
    except lzma.LZMAError as error:
        if "limit" in str(error):  # lzma has one exception class for everything
            raise _refused(
                file, Code.LIMIT, "its dictionary is over 16 MiB; compress with `xz -7` or less"
            ) from error
        raise _refused(file, Code.FORMAT, f"it is not xz: {error}") from error
    if engine.unused_data:
        raise _refused(file, Code.TRAILING, "it goes on after its xz stream")
    if not engine.eof:
        raise _refused(file, Code.TRUNCATED, "its xz stream is cut off")


def _unzstd(file: Path) -> Iterator[int]:
    _check_frame(file)
    argv = ["zstd", "--decompress", "--stdout", "--quiet", f"--memory={MAX_WINDOW}"]
    with (
        file.open("rb") as source,
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(argv, stdin=source, stdout=subprocess.PIPE, stderr=errors) as child,
    ):
        try:
            assert child.stdout  # noqa: S101 - a pipe was asked for
            while piece := child.stdout.read(PIECE):
                yield len(piece)
            status = child.wait(timeout=ZSTD_TIMEOUT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        if status:
            errors.seek(0)
            said = errors.read(500).decode(errors="replace").strip()
            raise _refused(file, Code.FORMAT, f"zstd cannot unpack it: {said}")


def _check_frame(file: Path) -> None:
    """Refuse what the program would unpack and a device would not."""
    try:
        listed = subprocess.run(
            ["zstd", "--list", "-v", str(file)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ZSTD_TIMEOUT,
            check=False,
        )
    except FileNotFoundError as error:
        raise Unavailable("the zstd program is not installed; install the package zstd") from error
    frames, window = _FRAMES.search(listed.stdout), _WINDOW.search(listed.stdout)
    if listed.returncode or not frames:
        raise _refused(file, Code.FORMAT, f"it is not zstd: {listed.stderr.strip()[:300]}")
    if int(frames[1]) != 1 or _SKIPPABLE.search(listed.stdout):
        raise _refused(
            file, Code.TRAILING, "it is more than one zstd frame; compress it in one piece"
        )
    if window and int(window[1]) > MAX_WINDOW:
        raise _refused(
            file,
            Code.LIMIT,
            f"its window of {int(window[1]) // 2**20} MiB is over 16 MiB;"
            " compress with `zstd -19` or less, without --long",
        )


def _refused(file: Path, code: Code, what: str) -> ReleaseRefused:
    return ReleaseRefused(f"{code}: {file}: {what}")
