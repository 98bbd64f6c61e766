"""The small types that several documents share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from schemas.canonical import canonical, set_id, sha256_hex
from schemas.wire.decode import AtLeast, Matching, to_json

Name = Annotated[str, Matching(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")]
Version = Annotated[str, Matching(r"[A-Za-z0-9](?:[A-Za-z0-9._+~-]{0,126}[A-Za-z0-9])?")]
ReleaseId = Annotated[
    str,
    Matching(
        r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?@[A-Za-z0-9](?:[A-Za-z0-9._+~-]{0,126}[A-Za-z0-9])?"
    ),
]
Sha256 = Annotated[str, Matching(r"[0-9a-f]{64}")]
Digest = Annotated[str, Matching(r"sha256:[0-9a-f]{64}")]  # of a descriptor
KeyId = Annotated[str, Matching(r"sha256:[0-9a-f]{64}")]
Order = Annotated[str, Matching(r"[0-9a-f]{16}")]
SetId = Annotated[str, Matching(r"[0-9a-f]{16}")]
RolloutId = Annotated[str, Matching(r"r-[0-9a-f]{8}")]
Commit = Annotated[str, Matching(r"[0-9a-f]{40}|[0-9a-f]{64}")]
Count = Annotated[int, AtLeast(0)]
Positive = Annotated[int, AtLeast(1)]
Var = bool | int | str


@dataclass(frozen=True, slots=True)
class ComponentRef:
    """A release, and the digest of the descriptor that release keys signed."""

    release: ReleaseId
    descriptor: Digest

    @property
    def name(self) -> str:
        return self.release.partition("@")[0]

    @property
    def version(self) -> str:
        return self.release.partition("@")[2]


@dataclass(frozen=True, slots=True)
class ComponentSet:
    """What a device runs: its components, and the pseudo-component config (`config`, `vars`)."""

    components: Mapping[Name, ComponentRef]
    config: Mapping[Name, Digest] = field(default_factory=dict)
    vars: Mapping[str, Var] = field(default_factory=dict)

    @property
    def id(self) -> str:
        content = to_json(self)
        return set_id(content["components"], content["config"], content["vars"])

    def __str__(self) -> str:
        """Return `os=kiosk-os@1.5.0 vars=9f31c07e`: what people can tell two sets apart by."""
        words = [f"{name}={ref.release}" for name, ref in sorted(self.components.items())]
        content = to_json(self)
        for part in ("config", "vars"):
            if content[part]:
                words.append(f"{part}={sha256_hex(canonical(content[part]))[:8]}")
        return " ".join(words)
