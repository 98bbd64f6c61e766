"""What a deployment is made of, and what the running system says about itself. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from schemas.wire.descriptor import ROOTFS_AB, Artifact, Descriptor
from schemas.wire.types import ComponentRef, Count


@dataclass(frozen=True, slots=True)
class Component:
    """One component of a deployment, with everything needed to install it.

    `module` names the Update Module when the artifact does, not the descriptor; `payload` is the
    number of the artifact's payload that it installs.
    """

    name: str
    ref: ComponentRef
    descriptor: Descriptor
    artifact: Artifact
    module: str | None = None
    payload: Count = 0

    @property
    def is_rootfs(self) -> bool:
        return self.descriptor.installer == ROOTFS_AB


@dataclass(frozen=True, slots=True)
class Contents:
    """What an artifact of Mender's format says of itself, kept until the deployment is over.

    `modules` are the payloads' types in order, empty for an artifact that only tells what a device
    runs already; `clears` are patterns of provides.
    """

    name: str
    group: str | None = None
    modules: tuple[str, ...] = ()
    provides: Mapping[str, str] = field(default_factory=dict)
    clears: tuple[str, ...] = ()


def payloads(component: Component, contents: Contents) -> tuple[Component, ...]:
    """Return the components that `contents` turns out to hold, one a payload: `app`, `app_0001`.

    No manifest can name a component so: a wire name has no `_`.
    """
    return tuple(
        replace(
            component,
            name=f"{component.name}_{number:04}" if number else component.name,
            module=module,
            payload=number,
        )
        for number, module in enumerate(contents.modules)
    )


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
