"""Conditional and range requests (RFC 9110 sections 13 and 14), as far as files need them. Pure."""

import re
from dataclasses import dataclass

_SINGLE = re.compile(r"bytes=\s*(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})\s*")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes `start` up to but not including `end`."""

    start: int
    end: int


class Unsatisfiable(Exception):
    """No byte of the range exists: answer 416."""


def requested_span(header: str, size: int) -> Span | None:
    """Return the single range that `header` asks for, or None where it is to be ignored: another
    unit, several ranges, or no valid range at all. Raises Unsatisfiable."""
    match = _SINGLE.fullmatch(header)
    if match is None or not (match["first"] or match["last"]):
        return None
    if not match["first"]:
        count = int(match["last"])
        if count == 0 or size == 0:
            raise Unsatisfiable
        return Span(max(0, size - count), size)
    first = int(match["first"])
    if match["last"] and int(match["last"]) < first:
        return None
    if first >= size:
        raise Unsatisfiable
    last = int(match["last"]) if match["last"] else size - 1
    return Span(first, min(last + 1, size))


def matches(header: str, etag: str) -> bool:
    """Is `etag` among the entity tags of an If-None-Match header? (The weak comparison.)"""
    if header.strip() == "*":
        return True
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return etag in tags
