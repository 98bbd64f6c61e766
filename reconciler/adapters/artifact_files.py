"""Reads an artifact in a file through, as a device would, and says what is in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.adapters.artifact_packing import PIECE, unpack
from reconciler.errors import ReleaseRefused, Unavailable
from schemas.artifact.header import Header
from schemas.artifact.reader import open_artifact
from schemas.artifact.signature import TrustedKey
from schemas.refusal import Refusal


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file of payload `payload`; `size` in bytes, `checksum` its SHA-256."""

    payload: int
    name: str
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class ReadArtifact:
    """An artifact that is whole. `signed_by` is the id of the key given that signed it, if any."""

    header: Header
    files: tuple[ReadFile, ...]
    signed_by: str | None


def read_artifact(path: Path, keys: tuple[TrustedKey, ...] = ()) -> ReadArtifact:
    """Check every byte of the artifact at `path`. Raises ReleaseRefused, Unavailable."""
    try:
        artifact = open_artifact(_pieces(path), unpack, keys=keys)
        found = []
        for file in artifact.files():
            checksum = artifact.manifest.checksum(file.payload, file.name)
            found.append(ReadFile(file.payload, file.name, file.size, checksum))
    except Refusal as refusal:
        raise ReleaseRefused(f"{path}: {refusal}") from refusal
    except OSError as error:
        raise Unavailable(f"{error.filename or path}: {error.strerror}") from error
    return ReadArtifact(artifact.header, tuple(found), artifact.signed_by)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
