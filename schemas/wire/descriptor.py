"""`releases/<name>/<version>.json`: the canonical JSON of a Release, signed by release keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

from schemas.canonical import sha256_hex
from schemas.wire.decode import Matching, encode
from schemas.wire.types import Count, Name, Positive, Sha256, Version

DESCRIPTOR_LIMIT = 64 * 1024  # bytes

Installer = Annotated[str, Matching(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")]
ROOTFS_AB = "rootfs-ab"
MENDER = "mender"  # an artifact of Mender's format: its payload types name the Update Modules


class Scope(StrEnum):
    """Where a component lives: in the root filesystem (lost with it), or beside it."""

    SLOT = "slot"
    DATA = "data"


class Encoding(StrEnum):
    """How the artifact's bytes are compressed."""

    RAW = "raw"
    GZIP = "gzip"
    XZ = "xz"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Artifact:
    """Bytes by digest. `url` null means `artifacts/<sha256>` of the published tree."""

    compatible: str
    sha256: Sha256
    size: Positive
    uncompressed_size: Positive
    encoding: Encoding
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What confirmed means: all `checks` pass within `within` seconds after the start."""

    within: Positive = 600
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One release. `installer` is `rootfs-ab` or the name of an Update Module."""

    name: Name
    version: Version
    installer: Installer
    scope: Scope
    epoch: Count
    artifacts: tuple[Artifact, ...]
    health: Health = field(default_factory=Health)
    upgrade_from: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    type: Literal["fleetcd/descriptor"] = "fleetcd/descriptor"
    schema: Count = 1
    critical: tuple[str, ...] = field(default=())

    @property
    def release(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def digest(self) -> str:
        """Return `sha256:` and 64 hex digits over the canonical JSON."""
        return "sha256:" + sha256_hex(encode(self))
