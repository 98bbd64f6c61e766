"""The strict decoder and encoder of what machines exchange (docs/protocol.md section 1). Pure.

A document is a frozen dataclass; JSON names are the camelCase of the field names. Fields with the
default `None` are left out of the encoding when they are None; all others are always written.
Unknown fields are ignored, unless the document lists them under `critical`: what a reader does not
understand and must not ignore.
"""

import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from schemas.canonical import MAX_INTEGER, canonical
from schemas.refusal import Code, Refusal

MAX_DEPTH = 24
MAX_STRING = 64 * 1024
DEFAULT_LIMIT = 1024 * 1024
SUPPORTED_SCHEMA = 1

T = TypeVar("T")

# Possessive, and an open string reaches to the end: linear whatever the bytes are.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_UTC_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z")


class Matching:
    """An annotation: `Annotated[str, Matching(r"[0-9a-f]{64}")]` accepts only full matches."""

    def __init__(self, pattern: str) -> None:
        self.pattern = re.compile(pattern)


class AtLeast:
    """An annotation: `Annotated[int, AtLeast(1)]`."""

    def __init__(self, minimum: int) -> None:
        self.minimum = minimum


def decode(kind: type[T], data: bytes, *, limit: int = DEFAULT_LIMIT) -> T:
    """Return the document of class `kind` in `data`, or raise Refusal.

    E_LENGTH over `limit` bytes; E_DEPTH; E_DUP; E_ENCODING for what is not UTF-8 or names half a
    character (a lone surrogate); E_FORMAT for what is not JSON or of a wrong type;
    E_SCHEMA for a document that is newer than this reader, or names a critical field unknown to it.
    """
    value = parse(data, limit=limit)
    if not isinstance(value, dict):
        raise Refusal(Code.FORMAT, f"a {kind.__name__} is a JSON object")
    _refuse_newer(kind, value)
    reader = _reader(typing.cast(Any, kind))
    return typing.cast(T, reader(value, kind.__name__))


def encode(document: object) -> bytes:
    """Return the canonical JSON of `document`."""
    return canonical(to_json(document))


def parse(data: bytes, *, limit: int = DEFAULT_LIMIT) -> Any:
    """Return the JSON value in `data`: bounded, no duplicate keys, no floats, no trailing bytes."""
    if len(data) > limit:
        raise Refusal(Code.LENGTH, f"{len(data)} bytes, at most {limit} are accepted")
    _check_depth(data)
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_no_float,
            parse_constant=_no_float,
            parse_int=_bounded_integer,
        )
    except UnicodeDecodeError as error:
        raise Refusal(Code.ENCODING, "not UTF-8") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise Refusal(Code.FORMAT, f"not JSON: {error}") from error
    if _SURROGATE.search(data):
        canonical(value)  # refuses what has no UTF-8, so that whatever was read can be written
    return value


def _check_depth(data: bytes) -> None:
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", data)):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Refusal(Code.DEPTH, f"nested deeper than {MAX_DEPTH}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen = set[str]()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Refusal(Code.DUP, f"key {twice!r} stands twice")
    return result


def _no_float(text: str) -> Any:
    raise Refusal(Code.FORMAT, f"{text} is not an integer")


def _bounded_integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise Refusal(Code.FORMAT, f"integer {text[:20]} is beyond 2^53 - 1")
    return int(text)


def _refuse_newer(kind: type, value: dict[str, Any]) -> None:
    known = {_json_name(field.name) for field in fields(typing.cast(Any, kind))} | {"critical"}
    schema = value.get("schema")
    if "schema" in known and isinstance(schema, int) and schema > SUPPORTED_SCHEMA:
        raise Refusal(
            Code.SCHEMA,
            f"schema {schema} is newer than this reader's {SUPPORTED_SCHEMA}",
            remedy="update the software that reads it",
        )
    critical = value.get("critical", [])
    if not isinstance(critical, list) or not all(isinstance(name, str) for name in critical):
        raise Refusal(Code.FORMAT, "`critical` is a list of field names")
    unknown = sorted(set(critical) - known)
    if unknown:
        raise Refusal(
            Code.SCHEMA,
            f"critical fields that this reader does not know: {', '.join(unknown)}",
            remedy="update the software that reads it",
        )


def _json_name(name: str) -> str:
    head, *rest = name.rstrip("_").split("_")
    return head + "".join(part.capitalize() for part in rest)


def utc(text: str) -> datetime:
    """Return the time in `text`, written exactly as 2026-11-24T07:00:00Z, or raise ValueError."""
    if not _UTC_TIME.fullmatch(text):
        raise ValueError(f"not a time such as 2026-11-24T07:00:00Z: {text[:40]!r}")
    return datetime.fromisoformat(text)


def utc_text(time: datetime) -> str:
    """Return `time` as 2026-11-24T07:00:00Z (whole seconds)."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def to_json(value: Any) -> Any:
    """Return `value` as JSON values: dataclasses as objects, tuples as lists, times as text."""
    if is_dataclass(value):
        return {
            _json_name(field.name): to_json(item)
            for field in fields(value)
            if (item := getattr(value, field.name)) is not None or field.default is not None
        }
    match value:
        case Mapping():
            return {key: to_json(item) for key, item in value.items()}
        case tuple() | list():
            return [to_json(item) for item in value]
        case frozenset() | set():
            return sorted(to_json(item) for item in value)
        case datetime():
            return utc_text(value)
        case StrEnum():
            return str(value)
        case _:
            return value


Reader = Callable[[Any, str], Any]


@cache
def _reader(kind: Any) -> Reader:
    """Return the function that checks a JSON value against the type `kind` and converts it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or kind is object:
        return _anything
    if origin is typing.Annotated:
        return _constrained(_reader(arguments[0]), arguments[1:])
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments)
    if origin is typing.Literal:
        return _literal(arguments)
    if origin is tuple:
        return _sequence(_reader(arguments[0]))
    if origin is frozenset:
        items = _sequence(_reader(arguments[0]))
        return lambda value, where: frozenset(items(value, where))
    if origin in (Mapping, dict):
        return _mapping(_reader(arguments[0]), _reader(arguments[1]))
    if is_dataclass(kind):
        return _object(kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _enumeration(kind)
    if kind is datetime:
        return _time
    return _exactly(kind)


def _anything(value: Any, where: str) -> Any:  # noqa: ARG001 - a Reader
    return value


def _wrong(where: str, wanted: str, value: Any) -> Refusal:
    shown = repr(value)
    return Refusal(
        Code.FORMAT, f"{wanted} expected, not {shown[:60]}{'…' * (len(shown) > 60)}", where=where
    )


def _exactly(kind: Any) -> Reader:
    names = {str: "a string", int: "an integer", bool: "true or false", type(None): "null"}

    def read(value: Any, where: str) -> Any:
        if type(value) is not kind:
            raise _wrong(where, names.get(kind, str(kind)), value)
        if kind is str and len(value) > MAX_STRING:
            raise Refusal(Code.LENGTH, f"longer than {MAX_STRING} characters", where=where)
        return value

    return read


def _time(value: Any, where: str) -> datetime:
    try:
        return utc(_exactly(str)(value, where))
    except ValueError as error:
        raise _wrong(where, "a time such as 2026-11-24T07:00:00Z", value) from error


def _literal(allowed: tuple[Any, ...]) -> Reader:
    def read(value: Any, where: str) -> Any:
        for item in allowed:
            if type(item) is type(value) and item == value:
                return value
        raise _wrong(where, " or ".join(map(repr, allowed)), value)

    return read


def _enumeration(kind: type[StrEnum]) -> Reader:
    def read(value: Any, where: str) -> Any:
        try:
            return kind(_exactly(str)(value, where))
        except ValueError as error:
            raise _wrong(where, "one of " + ", ".join(kind), value) from error

    return read


def _constrained(inner: Reader, constraints: tuple[Any, ...]) -> Reader:
    def read(value: Any, where: str) -> Any:
        result = inner(value, where)
        for constraint in constraints:
            match constraint:
                case Matching(pattern=pattern):
                    if not pattern.fullmatch(result):
                        raise _wrong(where, f"text matching {pattern.pattern}", value)
                case AtLeast(minimum=minimum):
                    if result < minimum:
                        raise _wrong(where, f"at least {minimum}", value)
        return result

    return read


def _one_of(kinds: tuple[Any, ...]) -> Reader:
    """Unions here are `X | None`, or of JSON scalars: the first that fits is taken."""

    def read(value: Any, where: str) -> Any:
        if value is None and type(None) in kinds:
            return None
        choices = [kind for kind in kinds if kind is not type(None)]
        for kind in choices[:-1]:
            try:
                return _reader(kind)(value, where)
            except Refusal:
                continue
        return _reader(choices[-1])(value, where)

    return read


def _sequence(item: Reader) -> Reader:
    def read(value: Any, where: str) -> Any:
        if type(value) is not list:
            raise _wrong(where, "a list", value)
        return tuple(item(element, f"{where}[{index}]") for index, element in enumerate(value))

    return read


def _mapping(key: Reader, item: Reader) -> Reader:
    def read(value: Any, where: str) -> Any:
        if type(value) is not dict:
            raise _wrong(where, "an object", value)
        return {key(k, f"{where}.{k}"): item(v, f"{where}.{k}") for k, v in value.items()}

    return read


def _object(kind: Any) -> Reader:
    hints = typing.get_type_hints(kind, include_extras=True)
    plan = [
        (
            field.name,
            _json_name(field.name),
            hints[field.name],
            field.default is MISSING and field.default_factory is MISSING,
        )
        for field in fields(kind)
    ]

    def read(value: Any, where: str) -> Any:
        if type(value) is not dict:
            raise _wrong(where, "an object", value)
        found: dict[str, Any] = {}
        for name, key, hint, required in plan:
            if key in value:
                found[name] = _reader(hint)(value[key], f"{where}.{key}")
            elif required:
                raise Refusal(Code.FORMAT, f"field {key!r} is missing", where=where)
        return kind(**found)

    return read
