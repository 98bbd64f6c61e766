"""The deployments that are cut off: what is installed, and what goes wrong besides the crash."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from device_agent.core.component import Component, Contents, RebootNeed
from device_agent.core.record import Record, unpacked
from device_agent.core.selection import select
from device_agent.modules.payload import DEFAULT_NAME
from schemas.resolve import Running
from schemas.wire.descriptor import MENDER, Scope
from schemas.wire.types import ComponentSet
from tests.support.agent_fakes import a_component, a_descriptor, a_record, a_set
from tests.support.artifacts import Build

SECTOR = 512  # bytes that a disk writes whole or not at all
OLD_IMAGE, NEW_IMAGE = b"old!" * 512, b"new!" * 512  # four sectors
# A file of a module: before, as the new slot's image ships it, and after the update.
OLD_FILE, SHIPPED_FILE, NEW_FILE = b"old file", b"as shipped", b"new file"
# What artifacts provided before. The second line is cleared by the new artifact.
OLD_PROVIDES = {"artifact_name": "kiosk-1", "app.stale": "1", "kept": "1"}
NEW_PROVIDES = {"artifact_name": "kiosk-2", "app.version": "2", "kept": "1"}

ROOTFS = a_component("os", a_descriptor("kiosk-os", image=NEW_IMAGE))
KIND = "recorder"  # the module that payloads name; it is found, and never started
_ARTIFACT = Build(
    kinds=(KIND, KIND),
    scripts=("ArtifactInstall_Enter_00", "ArtifactCommit_Leave_10"),
    info={
        "artifact_provides": {"artifact_name": "kiosk-2"},
        "artifact_depends": {"device_type": ["x86"]},
    },
    type_info={
        "artifact_provides": {"app.version": "2"},
        "clears_artifact_provides": ["app.*"],
    },
)
TWO_PAYLOADS = replace(_ARTIFACT, payloads=({DEFAULT_NAME: NEW_FILE},) * 2).bytes()
NO_PAYLOAD = replace(_ARTIFACT, payloads=(None,)).bytes()
IMAGES = {
    hashlib.sha256(one).hexdigest(): one for one in (NEW_IMAGE, NEW_FILE, TWO_PAYLOADS, NO_PAYLOAD)
}


def _module(
    name: str, scope: Scope = Scope.DATA, installer: str = "files", image: bytes = NEW_FILE
) -> Component:
    descriptor = a_descriptor(f"kiosk-{name}", installer=installer, scope=scope, image=image)
    return a_component(name, descriptor)


APP, CFG, SERVICE = _module("app"), _module("cfg"), _module("svc", Scope.SLOT)
PACKAGE = _module("pkg", installer=MENDER, image=TWO_PAYLOADS)
EMPTY_PACKAGE = _module("pkg", installer=MENDER, image=NO_PAYLOAD)


class Fault(StrEnum):
    """What goes wrong besides the crash."""

    NONE = "none"
    DOWNLOAD = "the network fails twice"
    REFUSED = "the artifact is not what was signed"
    INSTALL = "install fails"
    BOOT = "does not boot"
    VERIFY = "the restart did not help"
    HEALTH = "unhealthy"
    COMMIT = "commit fails"
    LATE_COMMIT = "commit says that it failed, but it took effect"
    ROLLBACK = "the rollback fails"
    NEVER_BACK = "the restart did not help, nor does the one on the way back"
    SCRIPT = "a state script fails"
    STOP = "stopped while waiting"
    OBJECTION = "the owner objects while waiting"
    SUPERSEDED = "superseded before the reboot"


HARMLESS_FAULTS = (Fault.NONE, Fault.DOWNLOAD, Fault.STOP, Fault.OBJECTION, Fault.LATE_COMMIT)
AFTER_THE_COMMIT = ("ArtifactCommit_Leave",)
ON_THE_WAY_BACK = ("ArtifactRollback_", "ArtifactRollbackReboot_", "ArtifactFailure_")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One deployment. `faulty` has the fault, `script` is the one that fails, `restart` is what
    modules answer to NeedsArtifactReboot, `final` have no rollback, `modules` are the types of
    the payloads that artifacts of Mender's format hold."""

    components: tuple[Component, ...]
    fault: Fault = Fault.NONE
    faulty: str = ""
    script: str = ""
    restart: RebootNeed = RebootNeed.NO
    final: frozenset[str] = frozenset()
    modules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def ends_well(self) -> bool:
        return self.fault in HARMLESS_FAULTS

    @property
    def kept_in_the_end(self) -> bool:
        """Say whether the update stays, whatever is reported of it."""
        late = self.fault is Fault.COMMIT and self.faulty != self.components[0].name
        return self.ends_well or late or self.script in AFTER_THE_COMMIT

    @property
    def parts(self) -> tuple[Component, ...]:
        """The components as they turn out after the download. An empty artifact has none."""
        contents = {name: Contents("", modules=kinds) for name, kinds in self.modules.items()}
        return unpacked(self.components, contents)

    @property
    def doubtful(self) -> frozenset[str]:
        """The components that may truthfully be reported as inconsistent. What lies in a slot goes
        with it, whether its module can undo it or not."""
        final = self.final - ({SERVICE.name} if self.components[0].is_rootfs else set())
        if self.fault is Fault.ROLLBACK or (self.fault is Fault.COMMIT and self.kept_in_the_end):
            return final | {self.faulty}
        script = self.script.startswith(ON_THE_WAY_BACK) or self.script in AFTER_THE_COMMIT
        if self.fault is Fault.NEVER_BACK or script:
            return frozenset(part.name for part in self.parts)
        return final

    def record(self) -> Record:
        """Return the deployment that begins on a device with the same slot-scoped modules, and
        other releases of everything else."""
        content = a_set(*self.components)
        same = {SERVICE.name: SERVICE.ref} if self.components[0].is_rootfs else {}
        selected = select(
            content,
            {component.name: component.descriptor for component in self.components},
            running=Running("set-before", ComponentSet(same)),
            attributes={"hardware": "x86"},
            floors={},
        )
        return replace(a_record(*selected), set=content.id, content=content)


AB = Scenario((ROOTFS,), faulty="os")
ONE = Scenario((APP,), faulty="app")
FINAL = replace(ONE, final=frozenset({"app"}))
AUTOMATIC = replace(ONE, restart=RebootNeed.AGENT)
BY_ITSELF = replace(ONE, restart=RebootNeed.MODULE)
TWO = Scenario((APP, CFG), faulty="cfg")
BOTH = Scenario((ROOTFS, APP), faulty="app")
THREE = Scenario((ROOTFS, SERVICE, APP))
MENDER_TWO = Scenario((PACKAGE,), faulty="pkg", modules={"pkg": (KIND, KIND)})

SLOTS: dict[str, Scenario] = {
    "good": AB,
    "unhealthy": replace(AB, fault=Fault.HEALTH),
    "install-fails": replace(AB, fault=Fault.INSTALL),
    "does-not-boot": replace(AB, fault=Fault.BOOT),
    "commit-fails": replace(AB, fault=Fault.COMMIT),
    "commit-fails-late": replace(AB, fault=Fault.LATE_COMMIT),
    "download-fails-twice": replace(AB, fault=Fault.DOWNLOAD),
    "download-refused": replace(AB, fault=Fault.REFUSED),
    "stopped-while-waiting": replace(AB, fault=Fault.STOP),
    "the-owner-objects": replace(AB, fault=Fault.OBJECTION),
    "superseded-before-reboot": replace(AB, fault=Fault.SUPERSEDED),
    "reboot-enter-fails": replace(AB, fault=Fault.SCRIPT, script="ArtifactReboot_Enter"),
    "commit-leave-fails": replace(AB, fault=Fault.SCRIPT, script="ArtifactCommit_Leave"),
}

MODULES: dict[str, Scenario] = {
    "module": ONE,
    "module-install-fails": replace(ONE, fault=Fault.INSTALL),
    "module-unhealthy": replace(ONE, fault=Fault.HEALTH),
    "module-commit-fails": replace(ONE, fault=Fault.COMMIT),
    "module-rollback-fails": replace(ONE, fault=Fault.ROLLBACK),
    "module-in-the-slot": Scenario((SERVICE,), Fault.HEALTH, "svc"),
    "final-module": FINAL,
    "final-module-install-fails": replace(FINAL, fault=Fault.INSTALL),
    "final-module-unhealthy": replace(FINAL, fault=Fault.HEALTH),
    "module-automatic": AUTOMATIC,
    "module-automatic-verify-fails": replace(AUTOMATIC, fault=Fault.VERIFY),
    "module-automatic-unhealthy": replace(AUTOMATIC, fault=Fault.HEALTH),
    "module-reboots": BY_ITSELF,
    "module-reboots-verify-fails": replace(BY_ITSELF, fault=Fault.VERIFY),
    "module-never-back": replace(AUTOMATIC, fault=Fault.NEVER_BACK),
    "install-enter-fails": replace(ONE, fault=Fault.SCRIPT, script="ArtifactInstall_Enter"),
    "install-leave-fails": replace(ONE, fault=Fault.SCRIPT, script="ArtifactInstall_Leave"),
    "rollback-enter-fails": replace(ONE, fault=Fault.SCRIPT, script="ArtifactRollback_Enter"),
    "failure-leave-fails": replace(ONE, fault=Fault.SCRIPT, script="ArtifactFailure_Leave"),
}

SETS: dict[str, Scenario] = {
    "two-modules": TWO,
    "second-module-install-fails": replace(TWO, fault=Fault.INSTALL),
    "second-module-commit-fails": replace(TWO, fault=Fault.COMMIT),
    "two-modules-automatic": replace(TWO, restart=RebootNeed.AGENT),
    "final-module-last": replace(TWO, final=frozenset({"app"})),
    "final-module-last-fails": replace(
        TWO, final=frozenset({"app"}), faulty="app", fault=Fault.INSTALL
    ),
    "two-payloads": MENDER_TWO,
    "two-payloads-unhealthy": replace(MENDER_TWO, fault=Fault.HEALTH),
    "second-payload-install-fails": replace(MENDER_TWO, fault=Fault.INSTALL, faulty="pkg_0001"),
    "second-payload-commit-fails": replace(MENDER_TWO, fault=Fault.COMMIT, faulty="pkg_0001"),
    "two-payloads-download-refused": replace(MENDER_TWO, fault=Fault.REFUSED),
    "two-payloads-rollback-fails": replace(MENDER_TWO, fault=Fault.ROLLBACK),
    "final-payloads-last": replace(MENDER_TWO, final=frozenset({"pkg"})),
    "empty-payload": Scenario((EMPTY_PACKAGE,), modules={"pkg": ()}),
}

SETS_WITH_SLOTS: dict[str, Scenario] = {
    "rootfs-and-module": BOTH,
    "rootfs-and-module-unhealthy": replace(BOTH, fault=Fault.HEALTH),
    "rootfs-and-module-install-fails": replace(BOTH, fault=Fault.INSTALL),
    "three": THREE,
    "three-unhealthy": replace(THREE, fault=Fault.HEALTH),
    "three-do-not-boot": replace(THREE, fault=Fault.BOOT),
    "three-slot-module-fails": replace(THREE, fault=Fault.INSTALL, faulty="svc"),
    "three-data-module-fails": replace(THREE, fault=Fault.INSTALL, faulty="app"),
    "three-late-commit-fails": replace(THREE, fault=Fault.COMMIT, faulty="app"),
    "three-final-slot-module-unhealthy": replace(
        THREE, fault=Fault.HEALTH, final=frozenset({"svc"})
    ),
    "rootfs-and-payloads": replace(MENDER_TWO, components=(ROOTFS, PACKAGE)),
    "rootfs-and-empty-payload": Scenario((ROOTFS, EMPTY_PACKAGE), modules={"pkg": ()}),
}

SCENARIOS = SLOTS | MODULES | SETS | SETS_WITH_SLOTS
