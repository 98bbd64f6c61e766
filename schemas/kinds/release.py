"""`Release`: what `kiosk-os@1.5.0` is. `descriptor()` is the part of it that release keys sign."""

import shlex
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.kinds.base import Document, LabelledMetadata, Written
from schemas.kinds.values import (
    Bytes,
    Compatible,
    Installer,
    PositiveDuration,
    Sha256,
    Text,
    Url,
    Version,
    VersionRange,
    refused,
    shown,
    unique,
)
from schemas.wire import descriptor as wire
from schemas.wire.descriptor import MENDER, ROOTFS_AB, Descriptor, Encoding, Scope

_BY_SUFFIX = {".zst": Encoding.ZSTD, ".gz": Encoding.GZIP, ".xz": Encoding.XZ}
_CHECKS = "write `network`, `systemd:UNIT`, `command:ARGV` or a URL"


class Artifact(Written):
    """Bytes by digest. Without `url` they lie in the published tree under `artifacts/<sha256>`.

    `uncompressed_size` may be left out when the bytes are not compressed.
    """

    compatible: Compatible
    url: Url | None = None
    sha256: Sha256
    size: Bytes
    uncompressed_size: Bytes | None = None
    encoding: Literal["raw", "gzip", "xz", "zstd"] | None = None

    @property
    def encoded(self) -> Encoding:
        """Return the encoding as written, or as the end of the URL's path tells."""
        if self.encoding is not None:
            return Encoding(self.encoding)
        path = (self.url or "").partition("?")[0].partition("#")[0]
        return next((e for end, e in _BY_SUFFIX.items() if path.endswith(end)), Encoding.RAW)

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        if self.encoded is not Encoding.RAW and self.uncompressed_size is None:
            raise refused(
                f"a {self.encoded} artifact needs `uncompressedSize`",
                "write the size in bytes after decompression",
            )
        if self.encoded is Encoding.RAW and self.uncompressed_size not in (None, self.size):
            raise refused(
                "`uncompressedSize` differs from `size`, yet the artifact is not compressed",
                "correct the sizes, or name the `encoding`",
            )
        return self


def _check(text: str) -> str:
    scheme, _, rest = text.partition(":")
    if text == "network":
        return text
    if scheme in ("http", "https") and rest.startswith("//") and len(rest) > len("//"):
        return text
    if scheme == "systemd" and rest and not rest.startswith("-") and not set(rest) & set(" /\n\t"):
        return text
    if scheme == "command":
        _refuse_unreadable_command(rest)
        return text
    raise refused(f"{shown(text)} is not a health check", _CHECKS)


def _refuse_unreadable_command(text: str) -> None:
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise refused(f"command {shown(text)}: {error}", "close every quotation mark") from error
    if not argv:
        raise refused("`command:` without a command", _CHECKS)


Check = Annotated[str, Field(max_length=1024), AfterValidator(_check)]


class Health(Written):
    """What confirmed means: all checks pass within this time after the start."""

    within: PositiveDuration = timedelta(minutes=10)
    checks: Annotated[tuple[Check, ...], Field(max_length=32)] = ()


class ReleaseSpec(Written):
    """`installer` is rootfs-ab, mender (a `.mender` file), or the name of an Update Module.

    `scope` defaults to slot for rootfs-ab and to data for all others.

    `upgrade_from` is a barrier: a device that runs an older version of this release refuses it.
    """

    version: Version
    installer: Installer
    scope: Literal["slot", "data"] | None = None
    epoch: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    artifacts: Annotated[
        tuple[Artifact, ...],
        Field(min_length=1, max_length=64),
        AfterValidator(unique("compatible")),
    ]
    health: Health = Health()
    withdrawn: Text | None = None
    provenance: Url | None = None
    upgrade_from: VersionRange | None = None

    @model_validator(mode="after")
    def _a_root_filesystem_is_its_slot(self) -> Self:
        if self.installer == ROOTFS_AB and self.scope == "data":
            raise refused(f"`{ROOTFS_AB}` writes a slot, its scope cannot be data", "remove scope")
        return self

    @model_validator(mode="after")
    def _an_artifact_of_menders_is_stored_as_it_is(self) -> Self:
        for index, artifact in enumerate(self.artifacts):
            if self.installer == MENDER and artifact.encoded is not Encoding.RAW:
                raise refused(
                    f"a `{MENDER}` artifact is not {artifact.encoded} as a whole:"
                    " its payloads are compressed inside",
                    "publish the `.mender` file itself, and write `encoding: raw`",
                    at=("artifacts", index, "encoding"),
                )
        return self


class Release(Document):
    kind: Literal["Release"]
    metadata: LabelledMetadata
    spec: ReleaseSpec

    @property
    def id(self) -> str:
        return f"{self.metadata.name}@{self.spec.version}"


def descriptor(release: Release) -> Descriptor:
    """Return what the release keys sign: all that a device acts on, and nothing that may change.

    `withdrawn` and `provenance` are no part of it: withdrawing a release needs no new signature.
    """
    spec = release.spec
    default = Scope.SLOT if spec.installer == ROOTFS_AB else Scope.DATA
    return Descriptor(
        name=release.metadata.name,
        version=spec.version,
        installer=spec.installer,
        scope=Scope(spec.scope) if spec.scope else default,
        epoch=spec.epoch,
        artifacts=tuple(map(_artifact, spec.artifacts)),
        health=wire.Health(int(spec.health.within.total_seconds()), spec.health.checks),
        upgrade_from=spec.upgrade_from,
        labels=dict(release.metadata.labels),
    )


def _artifact(artifact: Artifact) -> wire.Artifact:
    return wire.Artifact(
        compatible=artifact.compatible,
        sha256=artifact.sha256,
        size=artifact.size,
        uncompressed_size=artifact.uncompressed_size or artifact.size,
        encoding=artifact.encoded,
        url=artifact.url,
    )
