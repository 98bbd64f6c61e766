"""Reads an artifact in one pass: what describes it first, then its files as they stream by. Pure.

The order of the members makes it possible: version, manifest, signature, header, payloads. Nothing
is used before it was checked, but the files' own bytes: they are checked as they pass, and the last
piece of a file is followed by its end or by a refusal.
"""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from schemas.artifact import header, manifest, names
from schemas.artifact.archive import Archive
from schemas.artifact.json_object import parse_object
from schemas.artifact.manifest import Manifest
from schemas.artifact.trusted_key import TrustedKey
from schemas.artifact.ustar import MAX_SIZE
from schemas.refusal import Code, Refusal
from schemas.wire.descriptor import Encoding

FORMAT = {"format": "mender", "version": 3}
MAX_HEADER = 4 * 1024 * 1024  # bytes as stored; it is held in memory until its checksum is known

SIGNATURE_LIMIT = 16 * 1024  # bytes of manifest.sig

_VERSION_LIMIT = 1024  # bytes
_OUTER = 4 + header.MAX_PAYLOADS  # members

Pieces = Generator[bytes, None, None]
# Gives the one member of the encoding; refuses what is no such member, or has bytes after it.
Unpack = Callable[[Encoding, Iterable[bytes]], Pieces]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be unpacked: bytes of one file, and of all files together."""

    file: int = MAX_SIZE
    total: int = 64 * 1024**3


@dataclass(frozen=True, slots=True)
class File:
    """A file of payload `payload` (0 is the first), `size` bytes long.

    `chunks` ends, or raises Refusal (E_HASH, or what made it unreadable). Nothing may be done with
    the bytes that could not be undone before it has ended.
    """

    payload: int
    name: str
    size: int
    chunks: Iterator[bytes]


class Artifact:
    """An artifact whose description is read and checked; `files` reads the rest, once."""

    def __init__(
        self,
        outer: Archive,
        listed: Manifest,
        head: header.Header,
        *,
        signed_by: str | None,
        unpack: Unpack,
        limits: Limits,
    ) -> None:
        self.manifest, self.header, self.signed_by = listed, head, signed_by
        self._outer, self._unpack = outer, unpack
        self._limits, self._room = limits, limits.total

    def files(self) -> Iterator[File]:
        """Yield the files of all payloads in order, and see to the artifact's end.

        Of a file that was not read to its end, the rest is read and checked here. Raises Refusal:
        E_MISMATCH (a file that is not listed), E_NOT_FOUND (a listed one is missing), E_HASH,
        E_LENGTH (over `limits`), E_DUP, E_LIMIT, E_TYPE, E_PATH, E_TRUNCATED, E_TRAILING, E_FORMAT.
        """
        for index, payload in enumerate(self.header.payloads):
            yield from self._payload(index, payload)
        if member := self._outer.peek():
            raise Refusal(Code.MISMATCH, f"{member.name} belongs to no payload", where="artifact")

    def _payload(self, index: int, payload: header.Payload) -> Iterator[File]:
        listed = self.manifest.files(index)
        if payload.type is None and listed:
            raise Refusal(Code.MISMATCH, f"payload {index} is empty, but files are listed")
        encoding = self._enter(index, payload)
        if encoding is None:
            return
        with closing(self._unpack(encoding, self._outer.content())) as pieces:
            inner = Archive(pieces, names.data_stem(index), manifest.MAX_FILES)
            seen = set[str]()
            while member := inner.peek():
                name = names.file_name(member.name, "")
                path = names.data_folder(index) + name
                if path not in listed:
                    raise Refusal(Code.MISMATCH, f"{path} is not in the manifest")
                self._expect_room(path, member.size)
                seen.add(path)
                checked = _Checked(inner.content(), path, self.manifest)
                yield File(index, name, member.size, checked)
                checked.finish()
                inner.leave()
        self._outer.leave()
        if missing := sorted(listed - seen):
            raise Refusal(Code.NOT_FOUND, f"{missing[0]} is in the manifest only")

    def _enter(self, index: int, payload: header.Payload) -> Encoding | None:
        """Return how the payload is packed; None for an empty one that is not there."""
        stem, member = names.data_stem(index), self._outer.peek()
        encoding = names.encoding_of(member.name, stem) if member else None
        if payload.type is None and (member is None or encoding is None):
            return None
        if encoding is None:
            self._outer.expect(stem)
        if payload.type is None and member and member.size == 0:
            self._outer.leave()
            return None
        return encoding

    def _expect_room(self, path: str, size: int) -> None:
        most = min(self._limits.file, self._room)
        if size > most:
            raise Refusal(Code.LENGTH, f"{path} has {size} bytes, at most {most} are accepted")
        self._room -= size


class _Checked:
    """A file's pieces, counted into its checksum; the end is reached only if that is right."""

    def __init__(self, pieces: Iterator[bytes], path: str, listed: Manifest) -> None:
        self._pieces, self._path, self._listed = pieces, path, listed
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces, None)
        if piece is None:
            self._listed.compare(self._path, self._digest.hexdigest())
            raise StopIteration
        self._digest.update(piece)
        return piece

    def finish(self) -> None:
        for _ in self:
            pass


def open_artifact(
    chunks: Iterable[bytes],
    unpack: Unpack,
    *,
    keys: tuple[TrustedKey, ...] = (),
    limits: Limits | None = None,
) -> Artifact:
    """Read the artifact in `chunks` up to its first payload.

    With `keys`, one of them must have signed it; without, a signature is not looked at. Raises
    Refusal: E_SIGNATURE (also for none), E_VERSION, E_HASH, E_NOT_FOUND, and what manifest.parse,
    header.read and Archive refuse.
    """
    outer = Archive(chunks, "artifact", _OUTER)
    version = _member(outer, names.VERSION, _VERSION_LIMIT)
    _expect_version(version)
    signed = _member(outer, names.MANIFEST, manifest.LIMIT)
    signed_by = _signer(signed, _signature(outer), keys)
    listed = manifest.parse(signed)
    listed.check(names.VERSION, version)
    packed = _member(outer, listed.header, MAX_HEADER)
    listed.check(listed.header, packed)
    head = _header(listed.header, packed, unpack)
    _expect_places(listed, len(head.payloads))
    return Artifact(
        outer, listed, head, signed_by=signed_by, unpack=unpack, limits=limits or Limits()
    )


def _member(outer: Archive, name: str, limit: int) -> bytes:
    outer.expect(name)
    data = outer.small(limit)
    outer.leave()
    return data


def _expect_version(data: bytes) -> None:
    if parse_object(data, names.VERSION) != FORMAT:
        raise Refusal(Code.VERSION, "not an artifact of Mender's format 3", where=names.VERSION)


def _signature(outer: Archive) -> bytes | None:
    member = outer.peek()
    if member and member.name == names.SIGNATURE:
        return _member(outer, names.SIGNATURE, SIGNATURE_LIMIT)
    return None


def _signer(signed: bytes, found: bytes | None, keys: tuple[TrustedKey, ...]) -> str | None:
    if not keys:
        return None
    if found is None:
        raise Refusal(
            Code.SIGNATURE, "the artifact is not signed", remedy="sign it with a trusted key"
        )
    from schemas.artifact import signature

    return signature.verify(signed, found, keys)


def _header(name: str, packed: bytes, unpack: Unpack) -> header.Header:
    encoding = names.encoding_of(name, names.HEADER)
    assert encoding  # noqa: S101 - the manifest knows it by this name
    with closing(unpack(encoding, (packed,))) as pieces:
        return header.read(Archive(pieces, name, header.MAX_MEMBERS))


def _expect_places(listed: Manifest, payloads: int) -> None:
    """Raise Refusal (E_NOT_FOUND) for what is listed, and can be nowhere in this artifact."""
    known = {names.VERSION, listed.header}.union(*map(listed.files, range(payloads)))
    if lost := sorted(set(listed.checksums) - known):
        raise Refusal(Code.NOT_FOUND, f"{lost[0]} is in the manifest only")
