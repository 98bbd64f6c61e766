"""Which components a deployment has to install, and in which order (DESIGN section 7). Pure."""

from collections.abc import Mapping

from device_agent.core.component import BootFacts, Component
from device_agent.core.versions import satisfies
from device_agent.errors import AgentError, UpdateRejected
from schemas.refusal import Code
from schemas.resolve import Running
from schemas.selector import parse_selector
from schemas.wire.descriptor import ROOTFS_AB, Artifact, Descriptor, Scope
from schemas.wire.report import FailureClass
from schemas.wire.types import ComponentSet


class NotOnPrimary(AgentError):
    """Another slot runs than the primary: the set may be good, but this boot can install no rootfs.

    The other slot would be the device's only way back.
    """


def select(
    content: ComponentSet,
    descriptors: Mapping[str, Descriptor],
    *,
    running: Running | None,
    attributes: Mapping[str, str],
    floors: Mapping[str, int],
) -> tuple[Component, ...]:
    """Return what must be installed for `content`: the rootfs, slot-scoped, then data-scoped ones.

    `descriptors` by component name, of all of `content`; `attributes` are the device's labels and
    facts; `floors` the lowest epoch allowed, by component. A new rootfs brings all slot-scoped
    components with it. Raises UpdateRejected.
    """
    old = running.content.components if running else {}
    changed = {name for name, ref in content.components.items() if old.get(name) != ref}
    roots = sorted(name for name in changed if descriptors[name].installer == ROOTFS_AB)
    if len(roots) > 1:
        raise _rejected(Code.POLICY, f"more than one root filesystem: {', '.join(roots)}")
    if roots:
        changed |= {name for name, item in descriptors.items() if item.scope is Scope.SLOT}
    for name in sorted(changed):
        _check(name, descriptors[name], running, floors)
    return tuple(
        Component(
            name,
            content.components[name],
            descriptors[name],
            _artifact(descriptors[name], attributes),
        )
        for name in sorted(changed, key=lambda name: (_rank(descriptors[name]), name))
    )


def target_slot(components: tuple[Component, ...], boot: BootFacts) -> str | None:
    """Return the slot that a rootfs among `components` goes into, None without one.

    Raises UpdateRejected when the device has no slots, NotOnPrimary when it does not run its
    primary one.
    """
    if not components or not components[0].is_rootfs:
        return None
    if not boot.running:
        raise _rejected(Code.COMPAT, "this device has no slots for a root filesystem")
    if boot.running != boot.primary:
        raise NotOnPrimary(
            f"slot {boot.running} runs, and not the primary {boot.primary}, to which no image may"
            " be written before that is settled"
        )
    return "b" if boot.running == "a" else "a"


def _rank(descriptor: Descriptor) -> int:
    if descriptor.installer == ROOTFS_AB:
        return 0
    return 1 if descriptor.scope is Scope.SLOT else 2


def _check(
    name: str, descriptor: Descriptor, running: Running | None, floors: Mapping[str, int]
) -> None:
    floor = floors.get(name, 0)
    if descriptor.epoch < floor:
        raise _rejected(
            Code.DOWNGRADE,
            f"{descriptor.release} has epoch {descriptor.epoch}, here {floor} is the least",
        )
    present = running.content.components.get(name) if running else None
    if descriptor.upgrade_from and present and present.name == descriptor.name:
        if present.version == descriptor.version or satisfies(
            present.version, descriptor.upgrade_from
        ):
            return
        raise _rejected(
            Code.COMPAT,
            f"{descriptor.release} upgrades from {descriptor.upgrade_from}, not {present.version}",
        )


def _artifact(descriptor: Descriptor, attributes: Mapping[str, str]) -> Artifact:
    for artifact in descriptor.artifacts:
        if parse_selector(artifact.compatible).matches(attributes):
            return artifact
    wanted = "; ".join(artifact.compatible for artifact in descriptor.artifacts)
    raise _rejected(
        Code.COMPAT, f"{descriptor.release} has no artifact for this device (it has: {wanted})"
    )


def _rejected(code: Code, message: str) -> UpdateRejected:
    return UpdateRejected(code, message, FailureClass.PREINSTALL)
