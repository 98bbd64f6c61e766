"""What a deployment is made of, and what the running system says about itself. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from schemas.wire.descriptor import ROOTFS_AB, Artifact, Descriptor
from schemas.wire.types import ComponentRef


@dataclass(frozen=True, slots=True)
class Component:
    """One component of a deployment, with everything needed to install it."""

    name: str
    ref: ComponentRef
    descriptor: Descriptor
    artifact: Artifact

    @property
    def is_rootfs(self) -> bool:
        return self.descriptor.installer == ROOTFS_AB


class RebootNeed(StrEnum):
    NO = "no"
    MODULE = "module"  # the module reboots by itself (ArtifactReboot)
    AGENT = "agent"  # the agent reboots (Automatic)


@dataclass(frozen=True, slots=True)
class BootFacts:
    """What the running system says about itself, as opposed to what the journal remembers.

    `running` and `primary` are slot names (`a`, `b`); `trial` is the slot on trial, if any.
    A device without slots reports running = primary = "".
    """

    boot_id: str
    running: str
    primary: str
    trial: str | None
