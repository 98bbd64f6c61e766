"""`manifest`: the SHA-256 of everything in an artifact; its bytes are what is signed. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from schemas.artifact.names import HEADER, VERSION, data_folder, encoding_of, expect_inside
from schemas.canonical import sha256_hex
from schemas.refusal import Code, Refusal

LIMIT = 1024 * 1024  # bytes
MAX_FILES = 4096

_LINE = re.compile(r"([0-9a-f]{64})  (\S{1,100})")


@dataclass(frozen=True, slots=True)
class Manifest:
    """`checksums`: 64 hex digits by name. Header and version are there."""

    checksums: Mapping[str, str]

    @property
    def header(self) -> str:
        """Return the name of the header, with its suffix."""
        return next(name for name in self.checksums if encoding_of(name, HEADER))

    def check(self, name: str, data: bytes) -> None:
        """Raise Refusal unless `name` is listed (E_NOT_FOUND) with the checksum of `data`."""
        self.compare(name, sha256_hex(data))

    def compare(self, name: str, checksum: str) -> None:
        """Raise Refusal (E_HASH) unless `checksum` is that of the listed `name`."""
        if self.checksums.get(name) != checksum:
            raise Refusal(Code.HASH, f"{name} is not what the manifest says", where="manifest")

    def files(self, index: int) -> frozenset[str]:
        """Return the names, with their folder, of the files of payload `index`."""
        folder = data_folder(index)
        return frozenset(name for name in self.checksums if name.startswith(folder))

    def checksum(self, index: int, name: str) -> str:
        """Return the checksum of the file `name` of payload `index`, which must be listed."""
        return self.checksums[data_folder(index) + name]


def parse(data: bytes) -> Manifest:
    """Return the manifest in `data`, or raise Refusal with the number of the line.

    E_LIMIT, E_FORMAT, E_DUP, E_PATH; E_NOT_FOUND when header or version is not listed.
    """
    if len(data) > LIMIT:
        raise Refusal(Code.LIMIT, f"over {LIMIT} bytes", where="manifest")
    if not data.endswith(b"\n") or not data.isascii():
        raise Refusal(Code.FORMAT, "not lines of ASCII text", where="manifest")
    lines = data[:-1].decode("ascii").split("\n")
    if len(lines) > MAX_FILES:
        raise Refusal(Code.LIMIT, f"over {MAX_FILES} files", where="manifest")
    checksums: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line)
        if not found:
            raise Refusal(Code.FORMAT, "not `<sha256>  <name>`", where=f"manifest, line {number}")
        checksum, name = found.groups()
        expect_inside(name)
        if name in checksums:
            raise Refusal(Code.DUP, f"{name} stands twice", where=f"manifest, line {number}")
        checksums[name] = checksum
    headers = [name for name in checksums if encoding_of(name, HEADER)]
    if len(headers) > 1:
        raise Refusal(Code.DUP, f"two headers: {', '.join(headers)}", where="manifest")
    if VERSION not in checksums or not headers:
        raise Refusal(Code.NOT_FOUND, "no checksum of header or version", where="manifest")
    return Manifest(checksums)


def encode(checksums: Iterable[tuple[str, str]]) -> bytes:
    """Return the manifest of (name, checksum) pairs, sorted by name. Raises Refusal."""
    data = "".join(f"{checksum}  {name}\n" for name, checksum in sorted(checksums)).encode()
    parse(data)
    return data
