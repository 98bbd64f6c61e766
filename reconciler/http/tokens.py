"""Who may use the operator API: a file of lines `name sha256-of-token [read]`."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import Misconfigured

MAX_FILE = 64 * 1024  # bytes
_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._@-]{0,62}) +(?P<hash>[0-9a-f]{64})(?P<read> +read)?"
)


@dataclass(frozen=True, slots=True)
class Operator:
    name: str
    may_write: bool


class TokenFile:
    """Reads the file with every request, so that a token that is taken out is refused at once."""

    def __init__(self, path: Path) -> None:
        """Raises Misconfigured: the file, the line, and what a line looks like."""
        self._path = path
        self._lines()

    def operator(self, token: str) -> Operator | None:
        """Return whose token it is. Every line is compared, in constant time."""
        offered = hashlib.sha256(token.encode()).hexdigest()
        found = None
        for known, operator in self._lines():
            if hmac.compare_digest(known, offered):
                found = operator
        return found

    def _lines(self) -> list[tuple[str, Operator]]:
        try:
            with self._path.open("rb") as file:
                text = file.read(MAX_FILE).decode("utf-8", "replace")
        except OSError as error:
            raise Misconfigured(f"{self._path}: {error.strerror}") from error
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
        return [
            _parsed(self._path, number, line)
            for number, line in lines
            if line and not line.startswith("#")
        ]


def _parsed(path: Path, number: int, line: str) -> tuple[str, Operator]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise Misconfigured(
            f"{path}:{number}: a line is a name, a space and the SHA-256 of a token in hex,"
            " and `read` after it for a token that may change nothing"
        )
    return match["hash"], Operator(match["name"], may_write=match["read"] is None)
