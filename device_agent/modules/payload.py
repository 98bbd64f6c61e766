"""What a module is given: the header's words, and the payload's files. Filled from an artifact."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol
from urllib.parse import urlsplit

from device_agent.core.component import Component
from device_agent.errors import UpdateRejected
from device_agent.ports import ArtifactSource
from schemas.artifact import names
from schemas.canonical import canonical
from schemas.refusal import Code, Refusal
from schemas.wire.report import FailureClass

DEFAULT_NAME = "payload"

_LONGEST = 255  # characters, as file systems have it


@dataclass(frozen=True, slots=True)
class Header:
    """The files of `header/`. The last three are JSON; `null` where an artifact has none."""

    artifact_name: str
    artifact_group: str
    payload_type: str
    header_info: bytes
    type_info: bytes
    meta_data: bytes


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """One file. `chunks` starts its transfer when first asked, and may be consumed once."""

    name: str
    size: int
    chunks: Iterator[bytes]


class Payload(Protocol):
    """One payload of an artifact, whatever the format that carries it."""

    @property
    def header(self) -> Header: ...

    def files(self) -> Iterator[PayloadFile]:
        """Yield the files in order. Each is consumed before the next is asked for."""
        ...


class OpaqueFile:
    """The artifact itself, byte for byte, as the payload's one file."""

    def __init__(self, component: Component, source: ArtifactSource) -> None:
        """Raises UpdateRejected (E_PATH) when the url does not end in a file name."""
        self._artifact, self._source = component.artifact, source
        self._name = file_name(component.artifact.url)
        installer = component.descriptor.installer
        self._header = Header(
            artifact_name=component.ref.release,
            artifact_group="",
            payload_type=installer,
            header_info=canonical(
                {
                    "artifact_depends": {},
                    "artifact_provides": {"artifact_name": component.ref.release},
                    "payloads": [{"type": installer}],
                }
            ),
            type_info=canonical({"type": installer}),
            meta_data=b"null",
        )

    @property
    def header(self) -> Header:
        return self._header

    def files(self) -> Iterator[PayloadFile]:
        yield PayloadFile(self._name, self._artifact.size, self._chunks())

    def _chunks(self) -> Iterator[bytes]:
        """Ask the source only when somebody reads: a module may not, and then asks again."""
        yield from self._source.stream(self._artifact)


def file_name(url: str | None) -> str:
    """Return the last part of `url`'s path, or `payload` without a url. Raises UpdateRejected."""
    name = PurePosixPath(urlsplit(url).path).name if url else DEFAULT_NAME
    return checked_name(name)


def checked_name(name: str) -> str:
    """Return `name` if it can be nothing but a file inside the tree. Raises UpdateRejected.

    What an artifact may hold is the measure: printable ASCII without spaces, slashes, backslashes.
    """
    try:
        names.file_name(name, "")
        plain = len(name) <= _LONGEST
    except Refusal:
        plain = False
    if not plain:
        raise UpdateRejected(
            Code.PATH,
            f"{name[:100]!r} is not a plain file name for a module's payload;"
            " rename the file that the artifact's url ends in",
            FailureClass.POLICY,
        )
    return name
