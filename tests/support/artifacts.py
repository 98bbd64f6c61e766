"""Artifacts of Mender's format, good and hostile, built byte by byte and not by our writer."""

import gzip
import hashlib
import json
import lzma
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from device_agent.artifact.reader import Artifact, Limits, TrustedKey
from device_agent.errors import UpdateRejected
from schemas.wire.descriptor import Encoding

BLOCK = 512
ENDS = bytes(2 * BLOCK)
SUFFIX = {Encoding.RAW: "", Encoding.GZIP: ".gz", Encoding.XZ: ".xz", Encoding.ZSTD: ".zst"}
FILES = {"app.bin": bytes(range(256)) * 5, "notes.txt": b"two\n"}


def member(
    name: str | bytes,
    content: bytes = b"",
    *,
    kind: bytes = b"0",
    size: bytes | None = None,
    mode: int = 0o644,
    link: bytes = b"",
) -> bytes:
    """Return header block and padded content; `size` overrides the twelve bytes of the field."""
    block = bytearray(BLOCK)
    raw = name.encode() if isinstance(name, str) else name
    block[: len(raw)] = raw
    block[100:108] = b"%07o\0" % mode
    block[108:124] = b"0000000\0" * 2
    block[124:136] = size if size is not None else b"%011o\0" % len(content)
    block[136:148] = b"%011o\0" % 1_700_000_000
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return bytes(block) + content + bytes(-len(content) % BLOCK)


def tar(*members: bytes) -> bytes:
    return b"".join(members) + ENDS


def compress(encoding: Encoding, content: bytes) -> bytes:
    match encoding:
        case Encoding.RAW:
            return content
        case Encoding.GZIP:
            return gzip.compress(content, mtime=0)
        case Encoding.XZ:
            return lzma.compress(content)
        case Encoding.ZSTD:
            return subprocess.run(
                ["zstd", "-q", "-c"], input=content, capture_output=True, check=True
            ).stdout


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def as_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def header_info(*types: str | None) -> bytes:
    return as_json(
        {
            "payloads": [{"type": kind} for kind in types],
            "artifact_provides": {"artifact_name": "kiosk-1.5"},
            "artifact_depends": {"device_type": ["kiosk"]},
        }
    )


@dataclass(frozen=True)
class Build:
    """An artifact to be; whatever is not None is taken instead of what would be right."""

    payloads: tuple[Mapping[str, bytes] | None, ...] = (FILES,)  # None: the empty payload
    encoding: Encoding = Encoding.RAW
    scripts: tuple[str, ...] = ()
    meta_data: bytes | None = None
    sign: Callable[[bytes], bytes] | None = None
    header: bytes | None = None  # the header's archive, unpacked
    data: bytes | None = None  # the first payload's archive, unpacked
    listed: Mapping[str, bytes] = field(default_factory=dict)  # more lines, name and content
    kinds: tuple[str, ...] = ()  # the first payloads' types; single-file for those without
    info: Mapping[str, object] = field(default_factory=dict)  # over the fields of header-info
    type_info: Mapping[str, object] = field(default_factory=dict)  # over those of each type-info

    def types(self) -> list[str | None]:
        kinds = [*self.kinds, *(["single-file"] * len(self.payloads))]
        return [None if files is None else kinds[at] for at, files in enumerate(self.payloads)]

    def header_archive(self) -> bytes:
        types = self.types()
        info = as_json(json.loads(header_info(*types)) | dict(self.info))
        members = [member("header-info", info)]
        members += [member(f"scripts/{name}", b"#!/bin/sh\n") for name in self.scripts]
        for index, kind in enumerate(types):
            document = as_json({"type": kind, **self.type_info})
            members.append(member(f"headers/{index:04}/type-info", document))
            if self.meta_data is not None:
                members.append(member(f"headers/{index:04}/meta-data", self.meta_data))
        return tar(*members)

    def parts(self) -> dict[str, bytes]:
        """Return the outer members, name and content, in order."""
        suffix = SUFFIX[self.encoding]
        header = compress(self.encoding, self.header or self.header_archive())
        data: dict[str, bytes] = {}
        sums = {"version": VERSION, f"header.tar{suffix}": header, **self.listed}
        for index, files in enumerate(self.payloads):
            if files is None:
                continue
            inner = tar(*(member(name, content) for name, content in files.items()))
            if index == 0 and self.data is not None:
                inner = self.data
            data[f"data/{index:04}.tar{suffix}"] = compress(self.encoding, inner)
            sums |= {f"data/{index:04}/{name}": content for name, content in files.items()}
        manifest = "".join(f"{sha256(sums[name])}  {name}\n" for name in sorted(sums)).encode()
        signature = {"manifest.sig": self.sign(manifest)} if self.sign else {}
        return {
            "version": VERSION,
            "manifest": manifest,
            **signature,
            f"header.tar{suffix}": header,
            **data,
        }

    def bytes(self) -> bytes:
        return assemble(self.parts().items())


VERSION = b'{"format":"mender","version":3}'


def assemble(parts: Iterable[tuple[str, bytes]]) -> bytes:
    return tar(*(member(name, content) for name, content in parts))


def chunked(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def read(
    data: bytes,
    *,
    keys: tuple[TrustedKey, ...] = (),
    limits: Limits | None = None,
    size: int = 1 << 16,
) -> dict[tuple[int, str], bytes]:
    """Read the artifact through, in chunks of `size`; return its files by payload and name."""
    found = {}
    for file in Artifact(chunked(data, size), keys=keys, limits=limits).files():
        content = b"".join(file.chunks)
        assert len(content) == file.size
        found[file.payload, file.name] = content
    return found


def refusal(
    data: bytes, *, keys: tuple[TrustedKey, ...] = (), limits: Limits | None = None
) -> UpdateRejected:
    with pytest.raises(UpdateRejected) as caught:
        read(data, keys=keys, limits=limits)
    return caught.value
