"""The JSON of an artifact: objects without doubled keys, with floats (meta-data has them). Pure."""

import json
from math import isfinite
from typing import Any

from schemas.refusal import Code, Refusal


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """Return the JSON object in `data`. Raises Refusal: E_FORMAT, E_DUP, E_SCHEMA (no object)."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except Refusal as refusal:
        raise Refusal(refusal.code, refusal.what, where=where) from refusal
    except (ValueError, RecursionError) as error:
        raise Refusal(Code.FORMAT, f"not JSON: {error}", where=where) from error
    if not isinstance(value, dict):
        raise Refusal(Code.SCHEMA, "not a JSON object", where=where)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Refusal(Code.DUP, "a key stands twice")
    return result


def _no_constant(text: str) -> Any:
    raise Refusal(Code.FORMAT, f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise Refusal(Code.FORMAT, f"{text[:20]} is beyond all numbers")
    return number
