"""The target paths that the agent asks for, and nothing else. Pure."""

import re
from typing import Final

from schemas.canonical import shard_of
from schemas.refusal import Code, Refusal
from schemas.wire.types import ComponentRef

_SEGMENT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+~-]{0,126}[A-Za-z0-9])?")


def device_path(key: str) -> str:
    """Return the shard that holds the entry of device key id `key`."""
    return _path("devices", shard_of(key))


def fleet_path(fleet: str) -> str:
    return _path("fleets", fleet)


def descriptor_path(ref: ComponentRef) -> str:
    return _path("releases", ref.name, ref.version)


def _path(*segments: str) -> str:
    """Join segments that are plain names. Raises Refusal (E_PATH).

    tuf compares paths as raw text and puts them into URLs as they are; what is decoded from a
    document has been checked before, this is the last gate for all of them.
    """
    for segment in segments:
        if not _SEGMENT.fullmatch(segment) or ".." in segment:
            raise Refusal(Code.PATH, f"{segment[:80]!r} is not a name that may stand in a path")
    return "/".join(segments) + ".json"
