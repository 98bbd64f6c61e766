"""The outside of a Zstandard frame (RFC 8878), walked before a byte of it is decompressed. Pure.

The decompressor accepts more than an artifact may be: several frames, skippable frames, windows of
gigabytes. Walking the frame's headers costs nothing and says exactly where it ends.
"""

from enum import Enum, auto

from device_agent.errors import UpdateRejected
from schemas.refusal import Code
from schemas.wire.report import FailureClass

MAX_WINDOW = 16 * 1024 * 1024  # bytes; what every device must be able to hold

_MAGIC = b"\x28\xb5\x2f\xfd"
_DICTIONARY_BYTES = (0, 1, 2, 4)  # by the descriptor's dictionary flag
_SIZE_BYTES = (0, 2, 4, 8)  # by its content size flag
_RLE, _RESERVED = 1, 3  # block types


class _Part(Enum):
    MAGIC = auto()
    DESCRIPTOR = auto()
    HEADER = auto()
    BLOCK = auto()
    END = auto()


class Frame:
    """Follows one frame through chunks of any size. Both methods raise UpdateRejected."""

    def __init__(self) -> None:
        self._part, self._wanted = _Part.MAGIC, 4
        self._head = b""
        self._skip = 0  # bytes of block content, and the checksum, still to pass over
        self._descriptor = 0

    def feed(self, chunk: bytes) -> None:
        """E_FORMAT, E_LIMIT (a window over 16 MiB), E_TRAILING (bytes after the frame)."""
        at = 0
        while at < len(chunk):
            if self._skip:
                step = min(self._skip, len(chunk) - at)
                self._skip -= step
            elif self._part is _Part.END:
                raise _refused(Code.TRAILING, "bytes after the end of the zstd frame")
            else:
                step = min(self._wanted - len(self._head), len(chunk) - at)
                self._head += chunk[at : at + step]
                if len(self._head) == self._wanted:
                    self._understand(self._head)
            at += step

    def end(self) -> None:
        """E_TRUNCATED unless the frame is complete."""
        if self._skip or self._part is not _Part.END:
            raise _refused(Code.TRUNCATED, "the zstd frame is cut off")

    def _understand(self, head: bytes) -> None:
        self._head = b""
        match self._part:
            case _Part.MAGIC:
                if head != _MAGIC:
                    raise _refused(Code.FORMAT, "not a zstd frame (or a skippable one)")
                self._expect(_Part.DESCRIPTOR, 1)
            case _Part.DESCRIPTOR:
                self._descriptor = head[0]
                self._expect(_Part.HEADER, self._header_bytes())
            case _Part.HEADER:
                if self._window(head) > MAX_WINDOW:
                    raise _refused(
                        Code.LIMIT,
                        f"the zstd window is over {MAX_WINDOW >> 20} MiB;"
                        " compress without --long and --ultra",
                    )
                self._expect(_Part.BLOCK, 3)
            case _:
                self._block(int.from_bytes(head, "little"))

    def _expect(self, part: _Part, wanted: int) -> None:
        self._part, self._wanted = part, wanted

    @property
    def _single_segment(self) -> bool:
        return bool(self._descriptor & 0x20)

    def _header_bytes(self) -> int:
        """Return what follows the descriptor: never 0, as window or content size is there."""
        if self._descriptor & 0x08:
            raise _refused(Code.FORMAT, "the zstd frame uses a reserved bit")
        if _DICTIONARY_BYTES[self._descriptor & 0x03]:
            raise _refused(Code.FORMAT, "the zstd frame needs a dictionary; compress without one")
        size = _SIZE_BYTES[self._descriptor >> 6]
        return max(size, 1) if self._single_segment else 1 + size

    def _window(self, header: bytes) -> int:
        if self._single_segment:
            offset = 256 if len(header) == 2 else 0
            return int.from_bytes(header, "little") + offset
        base = 1 << (10 + (header[0] >> 3))
        return base + (base >> 3) * (header[0] & 0x07)

    def _block(self, header: int) -> None:
        last, kind, size = header & 1, (header >> 1) & 3, header >> 3
        if kind == _RESERVED:
            raise _refused(Code.FORMAT, "the zstd frame has a block of a reserved type")
        self._skip = 1 if kind == _RLE else size
        if last:
            self._skip += 4 if self._descriptor & 0x04 else 0
            self._expect(_Part.END, 0)


def _refused(code: Code, message: str) -> UpdateRejected:
    return UpdateRejected(code, message, FailureClass.DOWNLOAD)
