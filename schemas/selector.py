"""Label selectors: `product=kiosk,stage in (dev,qa),!retired`. Pure.

The grammar is that of Kubernetes' label selectors; a comma means "and". As there, `!=` and `notin`
also match devices that lack the key.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from schemas.refusal import Code, Refusal

MAX_LENGTH = 1024

_TOKEN = re.compile(
    r"\s*(?:(?P<word>[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,252}[A-Za-z0-9])?)"
    r"|(?P<symbol>!=|==|=|!|\(|\)|,))"
)


class Operator(StrEnum):
    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "absent"


def attributes(labels: Mapping[str, str], facts: Mapping[str, str]) -> dict[str, str]:
    """Return what `compatible` may ask for: a fact before a label of the same name, and by
    `facts.NAME` a fact alone."""
    return {**labels, **facts, **{f"facts.{name}": value for name, value in facts.items()}}


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None

    def __str__(self) -> str:
        match self.operator:
            case Operator.EXISTS:
                return self.key
            case Operator.ABSENT:
                return f"!{self.key}"
            case Operator.IN if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
            case Operator.NOT_IN if len(self.values) == 1:
                return f"{self.key}!={self.values[0]}"
            case _:
                return f"{self.key} {self.operator} ({','.join(self.values)})"


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements hold. The empty selector matches everything."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


@lru_cache(maxsize=1024)  # resolve() asks for the same few texts again and again
def parse_selector(text: str) -> Selector:
    """Parse `text`. Raises Refusal (E_FORMAT): the column, and what was expected there."""
    if len(text) > MAX_LENGTH:
        raise Refusal(Code.LIMIT, f"selector is longer than {MAX_LENGTH} characters")
    tokens = _Tokens(text)
    requirements: list[Requirement] = []
    if tokens.peek() is None:
        return Selector(())
    while True:
        requirements.append(_requirement(tokens))
        if tokens.peek() is None:
            return Selector(tuple(requirements))
        tokens.expect(",")


class _Tokens:
    def __init__(self, text: str) -> None:
        self._text, self._items, self._at = text, list[tuple[str, int]](), 0
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                column = position + len(text[position:]) - len(text[position:].lstrip())
                raise self._error(f"unexpected {text[column]!r}", column)
            start = match.start("word") if match["word"] else match.start("symbol")
            self._items.append((match["word"] or match["symbol"], start))
            position = match.end()

    def peek(self) -> str | None:
        return self._items[self._at][0] if self._at < len(self._items) else None

    def next(self, wanted: str) -> str:
        if self._at >= len(self._items):
            raise self._error(f"ends where {wanted} was expected", len(self._text))
        self._at += 1
        return self._items[self._at - 1][0]

    def word(self, wanted: str) -> str:
        token = self.next(wanted)
        if not token[0].isalnum():
            raise self._unexpected(token, wanted)
        return token

    def expect(self, symbol: str) -> None:
        token = self.next(repr(symbol))
        if token != symbol:
            raise self._unexpected(token, repr(symbol))

    def _unexpected(self, token: str, wanted: str) -> Refusal:
        column = self._items[self._at - 1][1]
        return self._error(f"{token!r} where {wanted} was expected", column)

    def _error(self, what: str, column: int) -> Refusal:
        return Refusal(
            Code.FORMAT,
            f"selector {self._text!r}, column {column + 1}: {what}",
            remedy="write for example: product=kiosk,stage in (dev,qa),!retired",
        )


def _requirement(tokens: _Tokens) -> Requirement:
    if tokens.peek() == "!":
        tokens.next("'!'")
        return Requirement(tokens.word("a label key"), Operator.ABSENT)
    key = tokens.word("a label key")
    match tokens.peek():
        case "=" | "==":
            tokens.next("'='")
            return Requirement(key, Operator.IN, (tokens.word("a value"),))
        case "!=":
            tokens.next("'!='")
            return Requirement(key, Operator.NOT_IN, (tokens.word("a value"),))
        case "in" | "notin" as word:
            tokens.next(word)
            return Requirement(key, Operator(word), _values(tokens))
        case _:
            return Requirement(key, Operator.EXISTS)


def _values(tokens: _Tokens) -> tuple[str, ...]:
    tokens.expect("(")
    values = [tokens.word("a value")]
    while tokens.peek() == ",":
        tokens.next("','")
        values.append(tokens.word("a value"))
    tokens.expect(")")
    return tuple(values)
