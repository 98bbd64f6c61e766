"""Builders for installer tests: a component over given bytes, and a source that hands them out."""

import gzip
import hashlib
import lzma
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from device_agent.core.component import Component
from device_agent.errors import TransientError, UpdateRejected
from schemas.refusal import Code
from schemas.wire.descriptor import ROOTFS_AB, Artifact, Descriptor, Encoding, Scope
from schemas.wire.report import FailureClass
from schemas.wire.types import ComponentRef


def packed(encoding: Encoding, content: bytes) -> bytes:
    match encoding:
        case Encoding.RAW:
            return content
        case Encoding.GZIP:
            return gzip.compress(content, mtime=0)
        case Encoding.XZ:
            return lzma.compress(content)
        case Encoding.ZSTD:
            done = subprocess.run(
                ["zstd", "-q", "-c"], input=content, capture_output=True, check=True
            )
            return done.stdout


def component(
    content: bytes,
    *,
    name: str = "os",
    installer: str = ROOTFS_AB,
    version: str = "1.5.0",
    encoding: Encoding = Encoding.RAW,
    url: str | None = None,
    uncompressed_size: int | None = None,
) -> Component:
    """Return a component whose one artifact is `content`, packed as `encoding` says."""
    stored = packed(encoding, content)
    artifact = Artifact(
        compatible="hardware=rpi4",
        sha256=hashlib.sha256(stored).hexdigest(),
        size=len(stored),
        uncompressed_size=uncompressed_size or len(content),
        encoding=encoding,
        url=url,
    )
    descriptor = Descriptor(
        name=f"kiosk-{name}",
        version=version,
        installer=installer,
        scope=Scope.SLOT,
        epoch=1,
        artifacts=(artifact,),
    )
    ref = ComponentRef(descriptor.release, descriptor.digest)
    return Component(name=name, ref=ref, descriptor=descriptor, artifact=artifact)


@dataclass
class BytesSource:
    """An ArtifactSource over `stored` bytes, which it checks at the end as the real one does.

    With `breaks_at` the network stays away after that many bytes.
    """

    stored: bytes
    breaks_at: int | None = None
    chunk: int = 4096
    streams: int = 0

    def stream(self, artifact: Artifact) -> Iterator[bytes]:
        self.streams += 1
        data = self.stored if self.breaks_at is None else self.stored[: self.breaks_at]
        for at in range(0, len(data), self.chunk):
            yield data[at : at + self.chunk]
        if self.breaks_at is not None:
            raise TransientError("the network stays away")
        if hashlib.sha256(self.stored).hexdigest() != artifact.sha256:
            raise UpdateRejected(Code.HASH, "not the signed bytes", FailureClass.CHECKSUM)


def source_of(content: bytes, encoding: Encoding = Encoding.RAW) -> BytesSource:
    return BytesSource(packed(encoding, content))
