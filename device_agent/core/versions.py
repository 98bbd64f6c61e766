"""Versions as release barriers compare them: `>=1.3.0`, `>=1.3,<2`. Pure."""

import re
from collections.abc import Callable
from itertools import zip_longest
from operator import eq, ge, gt, le, lt

from schemas.refusal import Code, Refusal

_PART = re.compile(r"\d+|[A-Za-z~]+")
_CLAUSE = re.compile(r"\s*(>=|<=|>|<|==?)\s*([A-Za-z0-9._+~-]+)\s*")
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">=": ge,
    "<=": le,
    ">": gt,
    "<": lt,
    "=": eq,
    "==": eq,
}


def satisfies(version: str, condition: str) -> bool:
    """Return whether `version` meets every clause. Raises Refusal (E_FORMAT): the bad clause."""
    for clause in condition.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise Refusal(
                Code.FORMAT, f"upgradeFrom: {clause.strip()!r}", remedy="write for example >=1.3.0"
            )
        if not _COMPARE[match[1]](_compare(version, match[2]), 0):
            return False
    return True


def _compare(left: str, right: str) -> int:
    """Return -1, 0 or 1. Numbers by value, words by text; a word (`rc1`) comes before its end."""
    for a, b in zip_longest(_parts(left), _parts(right), fillvalue=(1, 0, "")):
        if a != b:
            return -1 if a < b else 1
    return 0


def _parts(version: str) -> list[tuple[int, int, str]]:
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part) for part in _PART.findall(version)
    ]
