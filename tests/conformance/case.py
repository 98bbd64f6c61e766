"""A case of a case file: what is given and expected, read so that nothing is overlooked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

# What a case expects, or what was seen: lines by aspect (`calls`, `outcome`, `exit codes`, …).
Facts = Mapping[str, tuple[str, ...]]


T = TypeVar("T")


class Unsupported(Exception):
    """The case says something that this runner cannot express. That is a failure, not a skip."""


class Fields:
    """The fields of a JSON object. Each is taken once; `end` refuses what nobody took."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._left, self._where = dict(values), where

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def text(self, name: str, default: str | None = None) -> str:
        return self._take(name, str, default)

    def flag(self, name: str, default: bool | None = None) -> bool:
        return self._take(name, bool, default)

    def number(self, name: str, default: int | None = None) -> int:
        return self._take(name, int, default)

    def texts(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        items = self.items(name, default)
        if not all(isinstance(item, str) for item in items):
            raise Unsupported(f"{self._where}.{name}: not a list of texts")
        return items

    def items(self, name: str, default: tuple[Any, ...] | None = None) -> tuple[Any, ...]:
        return tuple(self._take(name, list, None if default is None else list(default)))

    def inner(self, name: str) -> "Fields":
        """Return the object `name`; an absent one is empty."""
        return Fields(self._take(name, dict, {}), f"{self._where}.{name}")

    def numbers(self) -> Mapping[str, int]:
        """Take everything: numbers by name."""
        names = list(self._left)
        return {name: self.number(name) for name in names}

    def leave(self, *names: str) -> None:
        """Take fields that are meant for people."""
        for name in names:
            self._left.pop(name, None)

    def end(self) -> None:
        """Raise Unsupported when a field is left: it may be what the case is about."""
        if self._left:
            unknown = ", ".join(sorted(self._left))
            raise Unsupported(f"{self._where}: unknown field {unknown}")

    def _take(self, name: str, kind: type[T], default: T | None) -> T:
        value = self._left.pop(name, default)
        if value is None:
            raise Unsupported(f"{self._where}: no field {name}")
        if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kind):
            raise Unsupported(f"{self._where}.{name}: {value!r} is not understood")
        return value


@dataclass(frozen=True, slots=True)
class Case:
    """`content` is the whole object of the file, as a person would look it up there."""

    id: str
    mode: str
    name: str
    content: Mapping[str, Any]

    def fields(self) -> Fields:
        """Return the fields other than id, mode and name."""
        fields = Fields(self.content, self.id)
        fields.leave("id", "mode", "name")
        return fields


def load(path: Path) -> list[Case]:
    """Return the cases of the file in their order. Raises ValueError when it is not a case file."""
    try:
        document = json.loads(path.read_bytes())
        cases = [Case(each["id"], each["mode"], each["name"], each) for each in document["cases"]]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not a file of cases: {error!r}") from error
    if not cases:
        raise ValueError(f"{path}: no cases")
    return cases
