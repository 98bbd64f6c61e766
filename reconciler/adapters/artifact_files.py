"""Reads an artifact in a file through, as a device would, and says what is in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.adapters.artifact_packing import PIECE, unpack
from reconciler.errors import ReleaseRefused, Unavailable
from schemas.artifact import names, ustar
from schemas.artifact.archive import Archive
from schemas.artifact.header import Header
from schemas.artifact.reader import open_artifact
from schemas.artifact.trusted_key import TrustedKey
from schemas.refusal import Code, Refusal
from schemas.wire.descriptor import Encoding


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file of payload `payload`; `size` in bytes, `checksum` its SHA-256."""

    payload: int
    name: str
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class ReadArtifact:
    """An artifact that is whole. `signed_by` is the id of the key given that signed it, if any.

    `has_signature` says nothing of whose it is.
    """

    header: Header
    files: tuple[ReadFile, ...]
    signed_by: str | None
    has_signature: bool


def read_artifact(path: Path, keys: tuple[TrustedKey, ...] = ()) -> ReadArtifact:
    """Check every byte of the artifact at `path`. Raises ReleaseRefused, Unavailable."""
    try:
        artifact = open_artifact(_pieces(path), unpack, keys=keys)
        found = []
        for file in artifact.files():
            checksum = artifact.manifest.checksum(file.payload, file.name)
            found.append(ReadFile(file.payload, file.name, file.size, checksum))
        signed = _has_signature(path)
    except Refusal as refusal:
        raise ReleaseRefused(f"{path}: {refusal}") from refusal
    except OSError as error:
        raise Unavailable(f"{error.filename or path}: {error.strerror}") from error
    return ReadArtifact(artifact.header, tuple(found), artifact.signed_by, signed)


def read_releasable(path: Path, encoding: Encoding) -> ReadArtifact:
    """Check an artifact that would be stored in `encoding`. Raises as read_artifact()."""
    if encoding is not Encoding.RAW:
        raise ReleaseRefused(
            f"{Code.FORMAT}: {path}: it is {encoding} as a whole, and its payloads are compressed"
            " inside; unpack it, and release the .mender file itself"
        )
    return read_artifact(path)


def is_artifact(path: Path) -> bool:
    """Say whether `path` was made to be an artifact of Mender's format, good or not.

    Its content says so (a tar archive that begins with `version`), or else its name, which also
    tells of one that was compressed once more. Raises Unavailable.
    """
    try:
        with path.open("rb") as file:
            head = file.read(ustar.BLOCK)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    try:
        return ustar.parse(head).name == names.VERSION or _is_named_so(path)
    except Refusal:
        return _is_named_so(path)


def _is_named_so(path: Path) -> bool:
    return ".mender" in path.suffixes


def _has_signature(path: Path) -> bool:
    """Say whether the artifact, which was read before, has one in its place."""
    outer = Archive(_pieces(path), str(path), 3)
    for name in (names.VERSION, names.MANIFEST):
        outer.expect(name)
        outer.leave()
    member = outer.peek()
    return member is not None and member.name == names.SIGNATURE


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece
