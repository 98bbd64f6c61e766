"""From the bytes of a file to text that hides nothing: UTF-8 without invisible characters. Pure."""

import re
import unicodedata
from itertools import islice

from reconciler.domain.problems import Problem
from schemas.refusal import Code

MAX_BYTES = 1024 * 1024
MAX_HIDDEN = 20  # characters reported in one file

# Controls, invisible and direction-changing characters, line breaks that editors do not show,
# tag characters, and what is no character at all (a lone surrogate comes from an escape only).
HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e0fff]|\r(?!\n)"
)
_UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


def text_of(data: bytes) -> tuple[str, tuple[Problem, ...]]:
    """Return the text and no problem, or an empty text and what is wrong (without file name)."""
    if len(data) > MAX_BYTES:
        return "", (too_large(len(data)),)
    wide = data.startswith(_UTF16_OR_32) or b"\x00" in data[:2]
    try:
        text = "" if wide else data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        return "", (
            _problem(before, Code.ENCODING, f"byte 0x{data[error.start]:02x} is not UTF-8"),
        )
    if wide:
        return "", (_problem("", Code.ENCODING, "UTF-16 or UTF-32, not UTF-8"),)
    hidden = tuple(_hidden(text, match) for match in islice(HIDDEN.finditer(text), MAX_HIDDEN))
    return ("", hidden) if hidden else (text, ())


def too_large(size: int) -> Problem:
    return Problem(
        "", 0, 0, "", Code.LIMIT, f"{size} bytes, at most {MAX_BYTES} are read", "split the file"
    )


def character_name(character: str) -> str:
    """Return for example `U+202E RIGHT-TO-LEFT OVERRIDE`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()


def _hidden(text: str, match: re.Match[str]) -> Problem:
    what = f"invisible or control character {character_name(match[0])}"
    mark = match[0] == "\ufeff" and match.start() == 0
    remedy = "save the file without a byte order mark" if mark else "delete it"
    return _problem(text[: match.start()], Code.CHAR, what, remedy)


def _problem(before: str, code: Code, message: str, remedy: str = "save it as UTF-8") -> Problem:
    """Return a problem right after the text `before`."""
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return Problem("", line, column, "", code, message, remedy)
