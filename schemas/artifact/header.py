"""The header archive: what an artifact is, what it needs, and its state scripts. Pure.

The names in JSON are those of Mender's artifact format 3. As in its Go reader, an unknown field is
refused: it may be a condition.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.artifact import names
from schemas.artifact.archive import Archive
from schemas.artifact.json_object import parse_object
from schemas.refusal import Code, Refusal

MAX_PAYLOADS = 16
MAX_MEMBERS = 1024  # of the header archive
MAX_DOCUMENT = 1024 * 1024  # bytes of one JSON document, or of one script
MAX_UNPACKED = 8 * 1024 * 1024  # bytes of all of them

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME = 256  # characters


@dataclass(frozen=True, slots=True)
class Script:
    """A state script of the artifact; `content` is what the signed checksum covers."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Payload:
    """One payload. `type` None: it is empty, only its provides count.

    `depends` holds any of several values by key. `clears` None: not said, which is not the same as
    nothing. `type_info` and `meta_data` are the documents as they came; an absent one is empty.
    """

    type: str | None
    provides: Mapping[str, str]
    depends: Mapping[str, tuple[str, ...]]
    clears: tuple[str, ...] | None
    type_info: bytes
    meta_data: bytes = b""


@dataclass(frozen=True, slots=True)
class Header:
    """`depends_name` or `depends_group` empty: no such condition. `info` is header-info, raw."""

    name: str
    group: str | None
    device_types: tuple[str, ...]
    depends_name: tuple[str, ...]
    depends_group: tuple[str, ...]
    payloads: tuple[Payload, ...]
    scripts: tuple[Script, ...]
    info: bytes

    @property
    def is_bootstrap(self) -> bool:
        """Say whether it only tells a device what it runs already."""
        return all(payload.type is None for payload in self.payloads)


def read(archive: Archive) -> Header:
    """Return the header in `archive`, read to its end, or raise Refusal.

    E_NOT_FOUND, E_FORMAT, E_SCHEMA, E_DUP, E_LIMIT, E_PATH, E_MODULE, E_MISMATCH.
    """
    members = _Members(archive)
    info = members.document(names.HEADER_INFO)
    head = _object(info, names.HEADER_INFO, ("payloads", "artifact_provides", "artifact_depends"))
    types = _payload_types(head.get("payloads"))
    provides = _Fields(head, "artifact_provides", ("artifact_name", "artifact_group"))
    depends = _Fields(head, "artifact_depends", ("artifact_name", "device_type", "artifact_group"))
    scripts = members.scripts()
    payloads = tuple(_payload(members, index, kind) for index, kind in enumerate(types))
    members.end()
    return Header(
        name=provides.text("artifact_name"),
        group=provides.text("artifact_group") if "artifact_group" in provides.values else None,
        device_types=depends.texts("device_type", required=1),
        depends_name=depends.texts("artifact_name"),
        depends_group=depends.texts("artifact_group"),
        payloads=payloads,
        scripts=scripts,
        info=info,
    )


class _Members:
    """The members of the header in their order, each bounded, all of them too."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self._room = archive, MAX_UNPACKED

    def document(self, name: str) -> bytes:
        self._archive.expect(name)
        return self._read()

    def optional(self, name: str) -> bytes:
        member = self._archive.peek()
        return self._read() if member and member.name == name else b""

    def scripts(self) -> tuple[Script, ...]:
        found = []
        while (member := self._archive.peek()) and member.name.startswith(names.SCRIPTS):
            found.append(Script(names.script_name(member.name), self._read()))
        return tuple(found)

    def end(self) -> None:
        if member := self._archive.peek():
            raise Refusal(Code.MISMATCH, f"{member.name} belongs to no payload", where="header")

    def _read(self) -> bytes:
        data = self._archive.small(min(MAX_DOCUMENT, self._room))
        self._room -= len(data)
        self._archive.leave()
        return data


def _payload_types(value: object) -> tuple[str | None, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_PAYLOADS:
        raise _schema(names.HEADER_INFO, f"`payloads` is a list of 1 to {MAX_PAYLOADS}")
    found = []
    for each in value:
        if not isinstance(each, dict) or each.keys() != {"type"}:
            raise _schema(names.HEADER_INFO, "a payload is an object with a `type`")
        found.append(_type(each["type"], names.HEADER_INFO))
    return tuple(found)


def _type(value: object, where: str) -> str | None:
    if value is None:
        return None
    text = _text(value, "type", where)
    names.expect_payload_type(text)
    return text


def _payload(members: _Members, index: int, kind: str | None) -> Payload:
    where = names.type_info(index)
    raw = members.document(where)
    fields = ("type", "artifact_provides", "artifact_depends", "clears_artifact_provides")
    info = _object(raw, where, fields)
    if "type" not in info:
        raise _schema(where, "`type` is missing")
    # mender-artifact writes no type into the type-info of a root filesystem.
    said = names.ROOTFS_IMAGE if info["type"] == "" else _type(info["type"], where)
    if said != kind:
        raise Refusal(Code.MISMATCH, f"type {said!r}, but header-info says {kind!r}", where=where)
    meta_data = members.optional(names.meta_data(index))
    if meta_data.strip():
        parse_object(meta_data, names.meta_data(index))
    if kind is None and meta_data:
        raise _schema(names.meta_data(index), "an empty payload has no meta-data")
    return Payload(
        type=kind,
        provides=_provides(info.get("artifact_provides", {}), where),
        depends=_depends(info.get("artifact_depends", {}), where),
        clears=_texts(info["clears_artifact_provides"], "clears_artifact_provides", where)
        if "clears_artifact_provides" in info
        else None,
        type_info=raw,
        meta_data=meta_data,
    )


def _provides(value: object, where: str) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise _schema(where, "`artifact_provides` is an object")
    return {_text(key, "key", where): _plain(each, key, where) for key, each in value.items()}


def _depends(value: object, where: str) -> Mapping[str, tuple[str, ...]]:
    """Accept one value by key, or several of which one is enough, as the specification says."""
    if not isinstance(value, dict):
        raise _schema(where, "`artifact_depends` is an object")
    return {
        _text(key, "key", where): _texts(each, key, where)
        if isinstance(each, list)
        else (_plain(each, key, where),)
        for key, each in value.items()
    }


class _Fields:
    """One object of header-info, closed."""

    def __init__(self, head: Mapping[str, Any], field: str, known: tuple[str, ...]) -> None:
        value = head.get(field)
        if not isinstance(value, dict):
            raise _schema(names.HEADER_INFO, f"`{field}` is an object")
        _expect_known(value, known, names.HEADER_INFO)
        self.values: Mapping[str, Any] = value

    def text(self, field: str) -> str:
        return _text(self.values.get(field), field, names.HEADER_INFO)

    def texts(self, field: str, *, required: int = 0) -> tuple[str, ...]:
        found = _texts(self.values.get(field, []), field, names.HEADER_INFO)
        if len(found) < required:
            raise _schema(names.HEADER_INFO, f"`{field}` is empty or missing")
        return found


def _text(value: object, field: str, where: str) -> str:
    """Return a name: it goes into files of one line, and into what people read."""
    text = _plain(value, field, where)
    if not 1 <= len(text) <= _NAME:
        raise _schema(where, f"`{field}` has 1 to {_NAME} characters")
    return text


def _plain(value: object, field: str, where: str) -> str:
    if not isinstance(value, str) or _CONTROL.search(value):
        raise _schema(where, f"`{field[:100]}` is not text without control characters")
    return value


def _texts(value: object, field: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _schema(where, f"`{field[:100]}` is a list")
    return tuple(_text(each, field, where) for each in value)


def _object(data: bytes, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    value = parse_object(data, where)
    _expect_known(value, known, where)
    return value


def _expect_known(value: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise _schema(where, f"unknown field {unknown[0][:100]!r}")


def _schema(where: str, what: str) -> Refusal:
    return Refusal(Code.SCHEMA, what, where=where)
