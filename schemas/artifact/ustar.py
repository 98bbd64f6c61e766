"""One header block of a tar archive: a regular file with a name and a size, and nothing else. Pure.

The layout is that of POSIX.1-1988 (`ustar`). Mode, owner and time are neither read nor obeyed.
"""

import re
from dataclasses import dataclass

from schemas.artifact.names import expect_inside
from schemas.refusal import Code, Refusal

BLOCK = 512  # bytes
MAX_SIZE = 8**11 - 1  # bytes; what eleven octal digits hold
END = bytes(BLOCK)  # two of these end an archive

_POSIX, _GNU = b"ustar\x0000", b"ustar  \x00"
_OCTAL = re.compile(rb"([0-7]{1,11})[ \x00]+")
_REGULAR = (b"0", b"\x00")
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a directory",
    b"6": "a fifo",
    b"7": "a contiguous file",
    b"g": "a global pax header",
    b"x": "a pax header, which would override what follows",
    b"K": "a GNU long link name",
    b"L": "a GNU long name",
    b"S": "a sparse file",
}


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file; `size` in bytes."""

    name: str
    size: int


def parse(block: bytes) -> Member:
    """Return what the 512 bytes of `block` announce. The end blocks are the caller's to know.

    Raises Refusal: E_FORMAT (no tar header, or a number that is not plain octal), E_TYPE (anything
    but a regular file), E_PATH.
    """
    if _number(block[148:156], "checksum") != _checksum(block):
        raise Refusal(Code.FORMAT, "not a tar header: its checksum is wrong")
    magic = block[257:265]
    if magic not in (_POSIX, _GNU):
        raise Refusal(Code.FORMAT, "not a ustar header")
    kind = block[156:157]
    if kind not in _REGULAR:
        what = _REFUSED.get(kind, f"a member of type {kind!r}")
        raise Refusal(Code.TYPE, f"{what}; an artifact holds regular files only")
    prefix = block[345:500] if magic == _POSIX else b""
    if magic == _GNU and block[345:500].strip(b"\x00"):
        raise Refusal(Code.FORMAT, "a GNU header with extensions; write it as ustar")
    return Member(_name(prefix, block[:100]), _number(block[124:136], "size"))


def build(member: Member, mode: int = 0o600) -> bytes:
    """Return the header block of `member`, owned by root and of 1970. Raises Refusal."""
    expect_inside(member.name)
    name = member.name.encode()
    if len(name) > 100:
        raise Refusal(Code.PATH, f"{member.name!r} is longer than 100 bytes")
    if not 0 <= member.size <= MAX_SIZE:
        raise Refusal(Code.LENGTH, f"{member.name} has {member.size} bytes, over {MAX_SIZE}")
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[100:108] = b"%07o\x00" % mode
    block[108:116] = block[116:124] = b"0000000\x00"
    block[124:136] = b"%011o\x00" % member.size
    block[136:148] = b"%011o\x00" % 0
    block[156:157] = b"0"
    block[257:265] = _POSIX
    block[329:337] = block[337:345] = b"0000000\x00"
    block[148:156] = b"%06o\x00 " % _checksum(bytes(block))
    return bytes(block)


def padding(size: int) -> int:
    """Return how many zeros follow `size` bytes of content, up to the next block."""
    return -size % BLOCK


def _number(field: bytes, what: str) -> int:
    found = _OCTAL.fullmatch(field)
    if not found:
        raise Refusal(Code.FORMAT, f"the {what} of a tar header is not an octal number")
    return int(found[1], 8)


def _checksum(block: bytes) -> int:
    """Return the sum of all bytes, those of the checksum itself counted as spaces."""
    return sum(block[:148]) + 8 * ord(" ") + sum(block[156:])


def _name(prefix: bytes, name: bytes) -> str:
    parts = [part.partition(b"\x00")[0] for part in (prefix, name)]
    text = b"/".join(part for part in parts if part).decode("latin-1")
    expect_inside(text)
    return text
