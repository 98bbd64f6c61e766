"""Which answers may be appended to the bytes that are here already (RFC 9110 section 14). Pure."""

import re
from dataclasses import dataclass
from typing import Final

from schemas.refusal import Code, Refusal

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer says of itself. `length`: Content-Length, None where it is not announced."""

    status: int
    content_type: str | None = None
    content_encoding: str | None = None
    content_range: str | None = None
    length: int | None = None
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """Take the body, less its first `skip` bytes, which are here already."""

    skip: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """Take nothing of it. `whole`: ask again without a range, for ranges are not kept to here."""

    why: str
    whole: bool


def judge(head: Head, offset: int, size: int) -> Use | Unusable:
    """Return what to do with the answer to a request for everything from `offset` on.

    `size` is the artifact's signed size. Offset 0 was asked for without a range. Raises Refusal:
    E_LENGTH for a file of another size, E_ENCODING for one that was recoded on the way.
    """
    if head.status == 416:
        return Unusable("the range is not satisfiable", whole=True)
    if head.status not in (200, 206):
        return Unusable(f"status {head.status}", whole=False)
    if (head.content_type or "").strip().lower().startswith("text/html"):
        return Unusable("a web page: a captive portal, or a wrong address", whole=False)
    encoding = (head.content_encoding or "identity").strip().lower()
    if encoding != "identity":
        raise Refusal(Code.ENCODING, f"comes as {encoding[:40]!r}, which was not asked for")
    return _whole(head, offset, size) if head.status == 200 else _part(head, offset, size)


def _whole(head: Head, offset: int, size: int) -> Use:
    if head.length is not None and head.length != size:
        raise Refusal(Code.LENGTH, f"has {head.length} bytes, {size} were signed")
    return Use(skip=offset)


def _part(head: Head, offset: int, size: int) -> Use | Unusable:
    match = _CONTENT_RANGE.fullmatch((head.content_range or "").strip())
    if match is None:
        return Unusable("a part that does not say which", whole=True)
    first, last = int(match[1]), int(match[2])
    if match[3] != "*" and int(match[3]) != size:
        raise Refusal(Code.LENGTH, f"has {match[3]} bytes, {size} were signed")
    if not first <= offset <= last < size:
        return Unusable(f"bytes {first}-{last}, asked from {offset} on", whole=True)
    if head.length is not None and head.length != last - first + 1:
        return Unusable(f"bytes {first}-{last} in a body of {head.length}", whole=True)
    return Use(skip=offset - first)
