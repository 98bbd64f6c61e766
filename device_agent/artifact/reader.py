"""Reads an artifact as it arrives, and hands each file to a consumer while it is checked."""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TypeVar

from device_agent.errors import UpdateRejected
from device_agent.install.decompress import Pieces, decompress
from schemas.artifact import reader
from schemas.artifact.header import Header as Header
from schemas.artifact.reader import File as File
from schemas.artifact.reader import Limits as Limits
from schemas.artifact.trusted_key import TrustedKey as TrustedKey
from schemas.refusal import Code, Refusal
from schemas.wire.descriptor import Encoding
from schemas.wire.report import FailureClass

# Takes the payload's number, a file's name, and its content, checked when it ends.
Consume = Callable[[int, str, Iterator[bytes]], None]

_T = TypeVar("_T")
# What mender-artifact writes, as `xz -9` does. Only so much of it becomes resident as the content
# is long.
_XZ_DICTIONARY = 64 * 1024 * 1024  # bytes
_CLASSES = {
    Code.HASH: FailureClass.CHECKSUM,
    Code.SIGNATURE: FailureClass.SIGNATURE,
    Code.PATH: FailureClass.POLICY,
    Code.TYPE: FailureClass.POLICY,
    Code.MODULE: FailureClass.POLICY,
    Code.LENGTH: FailureClass.SPACE,
}


class Artifact:
    """An artifact in one pass: `header` is read and checked already, `files` come once."""

    def __init__(
        self,
        chunks: Iterable[bytes],
        *,
        keys: tuple[TrustedKey, ...],
        limits: Limits | None = None,
    ) -> None:
        """Read `chunks` up to the first payload.

        Without `keys` no signature is asked for, with keys nothing is read that none of them has
        signed. Raises UpdateRejected, and what `chunks` raises.
        """
        try:
            self._artifact = reader.open_artifact(chunks, _unpack, keys=keys, limits=limits)
        except Refusal as refusal:
            raise rejected(refusal) from refusal

    @property
    def header(self) -> Header:
        return self._artifact.header

    @property
    def signed_by(self) -> str | None:
        """Return the id of the key that verified the signature; None when none was configured."""
        return self._artifact.signed_by

    def files(self) -> Generator[File, None, None]:
        """Yield the files of all payloads; what is not read of one is still checked.

        The artifact is whole when this has ended, not before. Raises UpdateRejected, as each file's
        chunks do.
        """
        for file in _rejecting(self._artifact.files()):
            yield File(file.payload, file.name, file.size, _rejecting(file.chunks))

    def deliver(self, consume: Consume) -> None:
        """Give each file to `consume`. Raises UpdateRejected, and what `consume` raises."""
        for file in self.files():
            consume(file.payload, file.name, file.chunks)


def load_keys(pems: Iterable[bytes]) -> tuple[TrustedKey, ...]:
    """Return the public keys in `pems`. Raises UpdateRejected for one that cannot be used."""
    found = tuple(pems)
    if not found:
        return ()
    from schemas.artifact.signature import trusted_key

    try:
        return tuple(map(trusted_key, found))
    except Refusal as refusal:
        raise rejected(refusal) from refusal


def rejected(refusal: Refusal) -> UpdateRejected:
    """Return `refusal` as the agent reports it."""
    message = str(refusal).removeprefix(f"{refusal.code}: ")
    return UpdateRejected(refusal.code, message, _CLASSES.get(refusal.code, FailureClass.DOWNLOAD))


def _unpack(encoding: Encoding, chunks: Iterable[bytes]) -> Pieces:
    return decompress(encoding, chunks, xz_dictionary=_XZ_DICTIONARY)


def _rejecting(items: Iterator[_T]) -> Iterator[_T]:
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except Refusal as refusal:
            raise rejected(refusal) from refusal
        yield item
