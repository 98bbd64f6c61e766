"""What an unquoted YAML scalar means here: a safe integer, true, false, null, or text that every
YAML reader takes for text. Whatever YAML 1.1 and 1.2 might read as something else is refused. Pure.
"""

import re
from dataclasses import dataclass

from schemas.canonical import MAX_INTEGER
from schemas.kinds.values import excerpt

Scalar = None | bool | int | str

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_CONSTANTS: dict[str, Scalar] = {"": None, "null": None, "true": True, "false": False}
_TRUTHS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false"})

# Numbers of YAML 1.1 (binary, octal, sexagesimal, underscores) and of 1.2, and 1.1's timestamps;
# wider than both on purpose; tests/property/test_yaml_scalars.py holds it against PyYAML's rules.
_UNCLEAR = re.compile(
    r"[-+]?[0-9][0-9_]*(?::[0-9_]+)*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9_]*)?"
    r"|[-+]?\.[0-9_]+(?:[eE][-+]?[0-9_]*)?"
    r"|[-+]?0[xob][0-9a-fA-F_]+"
    r"|[-+]?\.(?:inf|nan)"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt\s].*)?"
    r"|<<|=|~|null",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A scalar that readers disagree on, and how to write what was probably meant."""

    remedy: str


def plain_scalar(text: str) -> Scalar | Ambiguous:
    """Return the value of an unquoted scalar, or why it has none."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    first = text[0]
    if first.isalpha():
        word = text.lower() if len(text) <= len("false") else ""
        if word in _TRUTHS:
            return Ambiguous(f'write true or false, or quote it: "{excerpt(text)}"')
        if word == "null":
            return Ambiguous(f'write null, or quote it: "{excerpt(text)}"')
        return text
    if _INTEGER.fullmatch(text) and abs(int(text)) <= MAX_INTEGER:
        return int(text)
    if _UNCLEAR.fullmatch(text):
        return Ambiguous(f'quote it: "{excerpt(text)}"')
    return text
