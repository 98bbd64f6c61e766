"""The values inside documents: durations, percentages, names, labels, selectors, times."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Annotated, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from schemas.refusal import Code, Refusal
from schemas.selector import parse_selector
from schemas.wire import descriptor as wire_descriptor
from schemas.wire import types as wire
from schemas.wire.decode import Matching, utc

T = TypeVar("T")

MAX_TEXT = 1024  # characters of a reason or another free text
MAX_VAR = 512  # characters of a variable; variables travel in every manifest
MAX_ENTRIES = 64  # labels or variables in one place
LONGEST = timedelta(days=3650)  # ten years; keeps every computed time inside the calendar

_DURATION = re.compile(r"(0|[1-9][0-9]{0,8})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,2})(\.[0-9]{1,6})?")


REFUSED = "refused"  # the type of every error that refused() makes
AT_KEY = "[key]"  # the last step of a path that means a mapping's key; pydantic's own spelling


def refused(
    message: str, remedy: str = "", code: Code = Code.SCHEMA, at: tuple[str | int, ...] = ()
) -> PydanticCustomError:
    """Return a validator's error. The loader makes a Problem of it, at the value's position.

    `at` is the way from the value under validation to the part of it that is wrong.
    """
    context = {"message": message, "remedy": remedy, "code": code, "at": at}
    return PydanticCustomError(REFUSED, "{message}", context)


def _pattern(kind: object) -> str:
    """Return the regular expression of a wire type, anchored: one truth for both languages."""
    matching = next(item for item in get_args(kind) if isinstance(item, Matching))
    return f"^(?:{matching.pattern.pattern})$"


NAME = _pattern(wire.Name)
VERSION = _pattern(wire.Version)
RELEASE_ID = _pattern(wire.ReleaseId)
SHA256 = _pattern(wire.Sha256)
KEY_ID = _pattern(wire.KeyId)
INSTALLER = _pattern(wire_descriptor.Installer)
LABEL = r"^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$"
_CLAUSE = r" *(?:>=|<=|>|<|==?) *[A-Za-z0-9][A-Za-z0-9._+~-]{0,127} *"
VERSION_RANGE = f"^{_CLAUSE}(?:,{_CLAUSE}){{0,7}}$"
LINE = r"^[^\n\r\t]+$"
URL = r"^https?://[!-~]{1,2000}$"

DESCRIBED = {
    NAME: "a name: a-z, 0-9, `.` and `-`, at most 63 characters",
    VERSION: "a version such as 1.4.2: letters, digits and `._+~-`",
    RELEASE_ID: "a release such as kiosk-os@1.4.2",
    SHA256: "a SHA-256 digest: 64 hex digits in lower case",
    KEY_ID: "a key id: `sha256:` and 64 hex digits in lower case",
    INSTALLER: "`rootfs-ab` or the name of an Update Module",
    LABEL: "letters, digits and `._/-`, at most 63 characters",
    VERSION_RANGE: "a range of versions such as >=1.3.0 or >=1.3,<2",
    LINE: "one line of text",
    URL: "an address that begins with https:// or http://",
}
"""What each pattern means, in words for people."""

Name = Annotated[str, Field(pattern=NAME)]
Version = Annotated[str, Field(pattern=VERSION)]
ReleaseId = Annotated[str, Field(pattern=RELEASE_ID)]
Sha256 = Annotated[str, Field(pattern=SHA256)]
KeyId = Annotated[str, Field(pattern=KEY_ID)]
Installer = Annotated[str, Field(pattern=INSTALLER)]
VersionRange = Annotated[str, Field(pattern=VERSION_RANGE)]
Url = Annotated[str, Field(pattern=URL)]
Text = Annotated[str, Field(pattern=LINE, max_length=MAX_TEXT)]
Bytes = Annotated[int, Field(ge=1, le=2**53 - 1)]


def _duration(value: object) -> timedelta:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise refused(f"{shown(value)} is not a duration", "write for example 90s, 15m, 24h or 14d")
    try:
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
    except OverflowError:
        duration = timedelta.max
    if duration > LONGEST:
        raise refused(f"{value} is longer than {LONGEST.days}d", "write a shorter duration")
    return duration


def _positive(duration: timedelta) -> timedelta:
    if not duration:
        raise refused("a duration of zero is not possible here", "write for example 30m")
    return duration


Duration = Annotated[
    timedelta,
    PlainValidator(_duration),
    PlainSerializer(lambda duration: f"{duration // timedelta(seconds=1)}s", return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["90s", "15m", "24h"]}
    ),
]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]


def _percent(value: object) -> Fraction:
    """A whole number, or a quoted decimal: floats would not be exact."""
    if type(value) is int and 0 <= value <= 100:
        return Fraction(value)
    if isinstance(value, str) and _DECIMAL.fullmatch(value) and Fraction(value) <= 100:
        return Fraction(value)
    raise refused(
        f"{shown(value)} is not a percentage", 'write a number from 0 to 100, such as 5 or "99.5"'
    )


def _above_zero(percent: Fraction) -> Fraction:
    if not percent:
        raise refused("0 percent of the fleet is nobody", "write a number above 0")
    return percent


_PERCENT_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 100},
            {"type": "string", "pattern": f"^{_DECIMAL.pattern}$"},
        ]
    }
)
Percent = Annotated[Fraction, PlainValidator(_percent), _PERCENT_SCHEMA]
PositivePercent = Annotated[Percent, AfterValidator(_above_zero)]


def _selector(text: str) -> str:
    try:
        parse_selector(text)
    except Refusal as error:
        raise refused(error.what, error.remedy, error.code) from error
    return text


def _of_assigned_labels(text: str) -> str:
    """Labels are assigned; facts are claimed by the device, which must not choose its own fleet."""
    facts = [r.key for r in parse_selector(text).requirements if r.key.startswith("facts.")]
    if facts:
        raise refused(
            f"`{facts[0]}` is what a device says of itself; it cannot choose a fleet or a stage",
            "use a label; facts may be used in `compatible`",
        )
    return text


SELECTOR_SCHEMA = WithJsonSchema(
    {"type": "string", "maxLength": 1024, "examples": ["product=kiosk,stage in (dev,qa),!retired"]}
)
Compatible = Annotated[str, AfterValidator(_selector), SELECTOR_SCHEMA]
SelectorText = Annotated[Compatible, AfterValidator(_of_assigned_labels), SELECTOR_SCHEMA]


def _label_key(key: str) -> str:
    if key.startswith("facts."):
        raise refused("`facts.` is what a device says of itself", "choose another label key")
    return key


LabelKey = Annotated[str, Field(pattern=LABEL), AfterValidator(_label_key)]
LabelValue = Annotated[str, Field(pattern=LABEL)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=MAX_ENTRIES)]


def _var(value: object) -> bool | int | str:
    if not isinstance(value, bool | int | str):
        raise refused(f"{shown(value)} cannot be a variable", "write text, an integer or a truth")
    if isinstance(value, str) and len(value) > MAX_VAR:
        raise refused(f"longer than {MAX_VAR} characters", "shorten it", Code.LIMIT)
    return value


VarName = Annotated[str, Field(pattern=LABEL)]
Var = Annotated[
    bool | int | str,
    PlainValidator(_var),
    WithJsonSchema({"type": ["string", "integer", "boolean"]}),
]
Vars = Annotated[dict[VarName, Var], Field(max_length=MAX_ENTRIES)]


def _time(value: object) -> datetime:
    try:
        return utc(value if isinstance(value, str) else "")
    except ValueError as error:
        raise refused(
            f"{shown(value)} is not a time", 'write UTC and quote it: "2026-12-01T00:00:00Z"'
        ) from error


Time = Annotated[
    datetime, PlainValidator(_time), WithJsonSchema({"type": "string", "format": "date-time"})
]


def _later(value: object) -> None:
    """Refuse a field that this version cannot honour: to ignore it would be a lie."""
    if value is not None:
        raise refused("not supported by this version of fleetcd", "remove it", at=(AT_KEY,))


Later = Annotated[
    None,
    BeforeValidator(_later),
    WithJsonSchema({"type": "null", "description": "Not supported by this version."}),
]
"""A field that has its place in the language and takes effect in a later version."""


def shown(value: object) -> str:
    """Return what people wrote, short enough for a message."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case tuple() | list():
            return "a list"
        case _:
            return f"`{excerpt(str(value))}`"


def excerpt(text: str, limit: int = 60) -> str:
    """Return the beginning of `text` on one line; what does not print is escaped."""
    cut = f"{text[:limit]}…" if len(text) > limit else text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


def unique(field: str) -> Callable[[tuple[T, ...]], tuple[T, ...]]:
    """Return a validator: no two items of a list have the same value in `field`."""

    def check(items: tuple[T, ...]) -> tuple[T, ...]:
        seen = set[object]()
        for index, item in enumerate(items):
            value = getattr(item, field)
            if value in seen:
                raise refused(
                    f"{shown(value)} stands twice", "keep one", Code.DUP, at=(index, field)
                )
            seen.add(value)
        return items

    return check
