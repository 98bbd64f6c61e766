"""An artifact's payloads as modules are given them: every file is read once, in its order."""

from collections.abc import Iterator
from dataclasses import dataclass

from device_agent.artifact.reader import Artifact, File
from device_agent.modules.documents import document
from device_agent.modules.payload import Header, PayloadFile
from schemas.artifact import header as described
from schemas.artifact import names


class OnePass:
    """The files of an artifact. One of them is at hand until somebody asks for the next."""

    def __init__(self, artifact: Artifact) -> None:
        self._files = artifact.files()
        self._at_hand: File | None = None

    def of(self, payload: int) -> Iterator[PayloadFile]:
        """Yield the files of `payload`; asked again, go on with the one that was at hand.

        A module that does not stream leaves the first one unread, so that it can be stored. Raises
        UpdateRejected, and what the artifact's source raises.
        """
        while (file := self._peek()) and file.payload == payload:
            yield PayloadFile(file.name, file.size, file.chunks)
            self._at_hand = None

    def finish(self) -> None:
        """Check what nobody has read, to the artifact's last byte. Raises as of() does."""
        while self._peek():
            self._at_hand = None

    def close(self) -> None:
        """Stop unpacking, at whatever place."""
        self._files.close()

    def _peek(self) -> File | None:
        if self._at_hand is None:
            self._at_hand = next(self._files, None)
        return self._at_hand


@dataclass(frozen=True, slots=True)
class ArtifactPayload:
    """Payload `number` of the artifact that `files` come from (a modules.payload.Payload)."""

    number: int
    header: Header
    from_artifact: OnePass

    def files(self) -> Iterator[PayloadFile]:
        return self.from_artifact.of(self.number)


def module_headers(header: described.Header) -> dict[int, Header]:
    """Return by number what the modules of the payloads are told; empty payloads have none.

    Raises UpdateRejected (E_FORMAT, E_LIMIT) for what cannot be written to files.
    """
    info = document(header.info, names.HEADER_INFO)
    return {
        number: Header(
            artifact_name=header.name,
            artifact_group=header.group or "",
            payload_type=payload.type,
            header_info=info,
            type_info=document(payload.type_info, names.type_info(number)),
            meta_data=document(payload.meta_data, names.meta_data(number)),
        )
        for number, payload in enumerate(header.payloads)
        if payload.type is not None
    }
