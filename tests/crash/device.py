"""A whole device in a directory, with instants at which power fails: the real A/B installer, the
real file bootloader and the real journal, around a scenario that goes well or not."""
# ruff: noqa: ARG002 - these are ports' shapes

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.component import BootFacts, Component, RebootNeed
from device_agent.core.record import Record
from device_agent.core.states import State
from device_agent.errors import InstallFailed
from device_agent.install.rootfs_ab import RootfsAB
from device_agent.journal import Journal
from device_agent.ports import ArtifactSource, Installer, Ports, Trusted
from schemas.wire.descriptor import ROOTFS_AB, Artifact, Descriptor, Health, Scope
from schemas.wire.report import Event, FailureClass
from schemas.wire.types import ComponentRef
from tests.support.agent_fakes import (
    STOP,
    FakeClock,
    FakeOwner,
    FakeScripts,
    a_component,
    a_descriptor,
    a_manifest,
    a_record,
    a_set,
    a_trusted,
)

SLOT_SIZE = 12
BEFORE_REBOOT = (State.DOWNLOAD, State.INSTALL_WAIT, State.INSTALL, State.REBOOT_WAIT)
OLD_IMAGE, NEW_IMAGE = b"old image...", b"new image!!!"
OLD_FILE, NEW_FILE = b"old file", b"new file"

ROOTFS = a_component("os", a_descriptor("kiosk-os", image=NEW_IMAGE))
MODULE = a_component(
    "app", a_descriptor("kiosk-app", installer="files", scope=Scope.DATA, image=NEW_FILE)
)
SECOND = a_component(
    "cfg", a_descriptor("kiosk-cfg", installer="files", scope=Scope.DATA, image=NEW_FILE)
)


class Fault(StrEnum):
    """What goes wrong besides the crash."""

    NONE = "none"
    INSTALL = "install fails"
    BOOT = "does not boot"
    HEALTH = "unhealthy"
    COMMIT = "commit fails"
    LATE_COMMIT = "commit says that it failed, but it took effect"
    STOP = "stopped while waiting"
    SUPERSEDED = "superseded before the reboot"


@dataclass(frozen=True, slots=True)
class Scenario:
    components: tuple[Component, ...]
    fault: Fault = Fault.NONE
    faulty: str = "os"  # the component that has it

    @property
    def ends_well(self) -> bool:
        return self.fault in (Fault.NONE, Fault.STOP, Fault.LATE_COMMIT)

    def record(self) -> Record:
        return a_record(*self.components)


class Instants:
    """The moments at which power may fail. With `shots`, each leaves a copy of the device there."""

    def __init__(self, root: Path, shots: Path | None = None) -> None:
        self._root, self._shots, self._passed = root, shots, 0

    def here(self) -> None:
        self._passed += 1
        if self._shots:
            shutil.copytree(self._root, self._shots / str(self._passed))


class Restarted(BaseException):
    """The machine went away. Like a power cut, nothing of the agent may catch this."""


class World:
    """What survives a power cut: slots, boot variables, a module's file, the journal."""

    def __init__(self, root: Path, scenario: Scenario) -> None:
        self.root, self.scenario = root, scenario
        self.slots = {name: root / f"{name}.img" for name in "ab"}

    def make(self) -> None:
        self.slots["a"].write_bytes(OLD_IMAGE)
        self.slots["b"].write_bytes(b"\0" * SLOT_SIZE)
        for component in self.scenario.components:
            self.file(component).write_bytes(OLD_FILE)
        boot(self.root)

    def file(self, component: Component) -> Path:
        return self.root / f"{component.name}.file"

    @property
    def facts(self) -> BootFacts:
        return FileBootloader(self.root).facts()

    def journal(self) -> Journal:
        return Journal(self.root / "journal.db", id=secrets.token_hex(16))

    def restart(self) -> None:
        """Power comes back: the firmware picks a slot. One that does not start is reset."""
        for _ in range(4):
            booted = boot(self.root).slot
            image = self.slots[booted].read_bytes()
            assert image in (OLD_IMAGE, NEW_IMAGE), f"slot {booted} was started half-written"
            assert booted == "a" or self._allowed(), f"slot {booted} was started unasked"
            if image == OLD_IMAGE or self.scenario.fault is not Fault.BOOT:
                return
        raise AssertionError("the firmware never fell back")

    def _allowed(self) -> bool:
        """Return whether the last fresh check has said that the new slot may start."""
        journal = self.journal()
        record = journal.record()
        journal.close()
        return record is None or record.state not in BEFORE_REBOOT


class CrashingJournal(Journal):
    """An instant before, inside and after each transaction that stores a state."""

    instants: Instants

    def enter(self, record: Record, events: object = ()) -> None:
        self.instants.here()
        super().enter(record, events)  # type: ignore[arg-type]  # passed on as it came
        self.instants.here()

    def _append(self, event: Event) -> None:
        self.instants.here()
        super()._append(event)
        self.instants.here()


class CrashingBootloader:
    def __init__(self, inner: FileBootloader, instants: Instants, fault: Fault) -> None:
        self._inner, self._instants, self._fault = inner, instants, fault

    def facts(self) -> BootFacts:
        return self._inner.facts()

    def activate(self, slot: str, *, tries: int) -> None:
        self._instants.here()
        self._inner.activate(slot, tries=tries)
        self._instants.here()

    def commit(self) -> None:
        self._instants.here()
        if self._fault is Fault.COMMIT:
            raise InstallFailed("the environment cannot be written", FailureClass.COMMIT)
        self._inner.commit()
        self._instants.here()
        if self._fault is Fault.LATE_COMMIT:
            raise InstallFailed("the environment's disk complained", FailureClass.COMMIT)

    def cancel(self) -> None:
        self._instants.here()
        self._inner.cancel()
        self._instants.here()


class TornSource:
    """Yields an image in pieces, an instant between any two."""

    def __init__(self, instants: Instants) -> None:
        self._instants = instants

    def stream(self, artifact: Artifact) -> Iterator[bytes]:
        for start in range(0, SLOT_SIZE, 4):
            self._instants.here()
            yield NEW_IMAGE[start : start + 4]
        self._instants.here()


class FailingRootfs(RootfsAB):
    def install(self, component: Component) -> None:
        super().install(component)
        raise InstallFailed("the storage is failing", FailureClass.INSTALL)


class FilesModule:
    """An Update Module's part: replaces a file that may be torn, and keeps the old one aside."""

    def __init__(self, world: World, instants: Instants) -> None:
        self._world, self._instants = world, instants
        self._fault = world.scenario.fault

    def _faulty(self, component: Component, fault: Fault) -> bool:
        return self._fault is fault and self._world.scenario.faulty == component.name

    def _saved(self, component: Component) -> Path:
        return self._world.root / f"{component.name}.saved"

    def download(self, component: Component, source: ArtifactSource) -> None:
        self._instants.here()

    def install(self, component: Component) -> None:
        file, saved = self._world.file(component), self._saved(component)
        assert not saved.exists(), "ArtifactInstall was called twice"
        self._instants.here()
        temporary = saved.with_suffix(".new")
        temporary.write_bytes(file.read_bytes())
        temporary.replace(saved)
        self._instants.here()
        file.write_bytes(NEW_FILE[:3])
        self._instants.here()
        if self._faulty(component, Fault.INSTALL):
            raise InstallFailed("no", FailureClass.INSTALL)
        file.write_bytes(NEW_FILE)
        self._instants.here()

    def reboot_need(self, component: Component) -> RebootNeed:
        return RebootNeed.NO

    def activate(self, component: Component) -> None:
        raise AssertionError("asked for no reboot")

    def verify(self, component: Component) -> None:
        raise AssertionError("asked for no reboot")

    def commit(self, component: Component) -> None:
        self._instants.here()
        if self._faulty(component, Fault.COMMIT):
            raise InstallFailed("no", FailureClass.COMMIT)

    def supports_rollback(self, component: Component) -> bool:
        return True

    def rollback(self, component: Component) -> None:
        saved = self._saved(component)
        self._instants.here()
        if saved.exists():
            self._world.file(component).write_bytes(saved.read_bytes())
        self._instants.here()

    def rollback_reboot(self, component: Component) -> None:
        raise AssertionError("asked for no reboot")

    def verify_rollback(self, component: Component) -> None:
        raise AssertionError("asked for no reboot")

    def failure(self, component: Component) -> None:
        self._instants.here()

    def cleanup(self, component: Component) -> None:
        self._instants.here()
        self._saved(component).unlink(missing_ok=True)
        self._instants.here()


class ScenarioTrust:
    """A tree that says go, except in the scenarios where it says wait, or something else."""

    def __init__(self, world: World, instants: Instants) -> None:
        self._world, self._instants = world, instants

    def refresh(self) -> Trusted:
        self._instants.here()
        manifest = a_manifest(a_set(*self._world.scenario.components))
        asked = self._world.root / "asked"
        asked.write_bytes((asked.read_bytes() if asked.exists() else b"") + b".")
        times = asked.stat().st_size
        fault = self._world.scenario.fault
        if fault is Fault.STOP and times in (1, 3, 4):
            manifest = replace(manifest, stop=STOP)
        if fault is Fault.SUPERSEDED and self._about_to_reboot():
            manifest = replace(manifest, next=None, stable=None)
        return a_trusted(manifest)

    def _about_to_reboot(self) -> bool:
        record = self._world.journal().record()
        return record is not None and record.state is State.REBOOT_WAIT

    def descriptor(self, ref: ComponentRef) -> Descriptor:
        raise AssertionError("a deployment carries its descriptors with it")


class ScenarioHealth:
    def __init__(self, instants: Instants, fault: Fault) -> None:
        self._instants, self._fault = instants, fault

    def run(self, health: Health) -> None:
        self._instants.here()
        if self._fault is Fault.HEALTH:
            raise InstallFailed("the application does not answer", FailureClass.HEALTHCHECK)


class PowerButton:
    def __init__(self, instants: Instants) -> None:
        self._instants = instants

    def reboot(self) -> None:
        self._instants.here()
        raise Restarted


def crashing_ports(world: World, instants: Instants) -> Ports:
    fault, on_rootfs = world.scenario.fault, world.scenario.faulty == "os"
    commit_fault = fault if on_rootfs else Fault.NONE
    bootloader = CrashingBootloader(FileBootloader(world.root), instants, commit_fault)
    kind = FailingRootfs if fault is Fault.INSTALL and on_rootfs else RootfsAB
    rootfs = kind(world.slots, bootloader, world.root)
    module = FilesModule(world, instants)

    def installer(name: str) -> Installer:
        return rootfs if name == ROOTFS_AB else module

    return Ports(
        trust=ScenarioTrust(world, instants),
        source=TornSource(instants),
        installer=installer,
        bootloader=bootloader,
        machine=PowerButton(instants),
        health=ScenarioHealth(instants, fault),
        scripts=FakeScripts(),
        owner=FakeOwner(),
        clock=FakeClock(),
        attributes={"hardware": "x86"},
        new_id=lambda: secrets.token_hex(16),
    )
