"""What tuf's parser lets pass and we do not: duplicate keys, floats, `true` as a version. Pure."""

import re
from typing import Final
from urllib.parse import unquote

from schemas.delegation import check_delegation
from schemas.refusal import Code, Refusal
from schemas.wire.decode import parse

_NAME: Final = re.compile(r"(?:(?P<number>[1-9][0-9]{0,15})\.)?(?P<role>.+)\.json")
_TOP_LEVEL: Final = ("root", "timestamp", "snapshot")


def check_metadata(file_name: str, data: bytes, limit: int) -> None:
    """Raise Refusal unless `data` has the outline of the metadata that `file_name` promises.

    E_FORMAT, E_DUP, E_DEPTH: not strict JSON, or of another type. E_VERSION: `3.root.json` holds
    another version than 3. And as check_delegation(). Signatures, hashes and expiry are tuf's.
    """
    name = _NAME.fullmatch(file_name)
    if name is None:
        raise Refusal(Code.PATH, f"{file_name!r} is not the name of metadata")
    document = parse(data, limit=limit)
    signed = document.get("signed") if isinstance(document, dict) else None
    if not isinstance(signed, dict):
        raise Refusal(Code.FORMAT, "metadata is an object with a `signed` object")
    role = unquote(name["role"])
    wanted = role if role in _TOP_LEVEL else "targets"
    if signed.get("_type") != wanted:
        raise Refusal(Code.FORMAT, f"{wanted!r} expected, not {str(signed.get('_type'))[:40]!r}")
    version = signed.get("version")
    if type(version) is not int or version < 1:
        raise Refusal(Code.FORMAT, f"version {str(version)[:40]!r} is not a positive integer")
    if name["number"] is not None and version != int(name["number"]):
        raise Refusal(Code.VERSION, f"version {version} in a file that is named {file_name}")
    check_delegation(signed)
