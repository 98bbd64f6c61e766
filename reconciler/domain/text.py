"""Text that devices send, made fit for logs, databases and terminals. Pure."""

from collections.abc import Mapping

MAX_FACTS, MAX_FACT_NAME, MAX_FACT_VALUE = 64, 64, 256


def printable(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`, with every character escaped that could break
    a line, move a cursor or reorder what is read: controls, direction marks, lone surrogates."""
    safe = "".join(_escaped(character) for character in text[:limit])
    if len(safe) <= limit and len(text) <= limit:
        return safe
    return safe[: limit - 1] + "…"


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def facts_of(claimed: Mapping[str, str]) -> dict[str, str]:
    """Return the first facts in name order, bounded and printable."""
    return {
        printable(name, MAX_FACT_NAME): printable(value, MAX_FACT_VALUE)
        for name, value in sorted(claimed.items())[:MAX_FACTS]
    }
