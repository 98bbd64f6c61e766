"""The ports of a device that may be cut off: real A/B installer, real file bootloader, real module
installer, real journal, around a scenario that goes well or not."""
# ruff: noqa: ARG002 - these are ports' shapes

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from device_agent.boot.file import FileBootloader
from device_agent.core.component import BootFacts, Component
from device_agent.core.scripts import Action, OnFailure, ScriptState
from device_agent.core.states import Gate, State
from device_agent.errors import InstallFailed, TransientError, UpdateRejected
from device_agent.install.rootfs_ab import RootfsAB
from device_agent.ports import Digest, Installer, Ports, Trusted
from device_agent.scripts import kept
from schemas.refusal import Code
from schemas.wire.descriptor import MENDER, ROOTFS_AB, Artifact, Descriptor, Health
from schemas.wire.report import FailureClass
from schemas.wire.types import ComponentRef
from tests.crash.instants import Instants
from tests.crash.module import FilesArtifact, FilesModule
from tests.crash.scenarios import (
    IMAGES,
    NEW_FILE,
    OLD_FILE,
    ON_THE_WAY_BACK,
    SECTOR,
    Fault,
)
from tests.crash.world import World
from tests.support.agent_fakes import STOP, FakeClock, a_manifest, a_set, a_trusted


class Restarted(BaseException):
    """The machine went away. Like a power cut, nothing of the agent may catch this."""


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

    def adopt(self) -> None:
        self._instants.here()
        self._inner.adopt()
        self._instants.here()


class Counter:
    """Counts across restarts: how often something was asked so far."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def next(self) -> int:
        count = self._path.stat().st_size + 1 if self._path.exists() else 1
        self._path.write_bytes(b"." * count)
        return count


class TornSource:
    """Yields an image in pieces, an instant between any two. It can go on in the middle."""

    def __init__(self, world: World, instants: Instants) -> None:
        self._world, self._instants = world, instants

    def stream(self, artifact: Artifact) -> Iterator[bytes]:
        return self.resume(artifact, 0, hashlib.sha256())

    def resume(self, artifact: Artifact, offset: int, digest: Digest) -> Iterator[bytes]:
        whole = IMAGES[artifact.sha256]
        size = max(SECTOR, len(whole) // 4)
        if self._world.scenario.fault is Fault.DOWNLOAD:
            self._fail_twice(whole[:SECTOR])
        for start in range(offset, len(whole), size):
            self._instants.here()
            if self._world.scenario.fault is Fault.REFUSED and start + size >= len(whole):
                raise UpdateRejected(Code.LENGTH, "half is missing", FailureClass.DOWNLOAD)
            piece = whole[start : start + size]
            digest.update(piece)
            yield piece
        self._instants.here()
        assert digest.hexdigest() == artifact.sha256, "went on after bytes that are not there"

    def _fail_twice(self, piece: bytes) -> None:
        if Counter(self._world.root / "downloads").next() <= 2:
            raise TransientError(f"the network went away, {len(piece)} bytes before")


class FailingRootfs(RootfsAB):
    def install(self, component: Component) -> None:
        super().install(component)
        raise InstallFailed("the storage is failing", FailureClass.INSTALL)


class ScenarioTrust:
    """A tree that says go, except in the scenarios where it says wait, or something else."""

    def __init__(self, world: World, instants: Instants) -> None:
        self._world, self._instants = world, instants

    def refresh(self) -> Trusted:
        self._instants.here()
        manifest = a_manifest(a_set(*self._world.scenario.components))
        fault = self._world.scenario.fault
        if fault is Fault.STOP and Counter(self._world.root / "asked").next() in (1, 3, 4):
            manifest = replace(manifest, stop=STOP)
        if fault is Fault.SUPERSEDED and self._world.journaled() is State.REBOOT_WAIT:
            manifest = replace(manifest, next=None, stable=None)
        return a_trusted(manifest)

    def descriptor(self, ref: ComponentRef) -> Descriptor:
        raise AssertionError("a deployment carries its descriptors with it")


class ScenarioOwner:
    """Nobody objects, or somebody does at the first two times."""

    def __init__(self, world: World, instants: Instants) -> None:
        self._world, self._instants = world, instants

    def objection(self, gate: Gate) -> str | None:
        self._instants.here()
        if self._world.scenario.fault is not Fault.OBJECTION:
            return None
        asked = Counter(self._world.root / "owner").next()
        return f"a customer is served, no {gate} now" if asked in (1, 3, 4) else None


class ScenarioHealth:
    def __init__(self, world: World, instants: Instants) -> None:
        self._scenario, self._instants = world.scenario, instants

    def run(self, health: Health) -> None:
        self._instants.here()
        needed = self._scenario.script.startswith(ON_THE_WAY_BACK)
        if needed or self._scenario.fault in (Fault.HEALTH, Fault.ROLLBACK):
            raise InstallFailed("the application does not answer", FailureClass.HEALTHCHECK)


_TELLING = (
    "ArtifactInstall_Leave",
    "ArtifactReboot_Leave",
    "ArtifactCommit_Enter",
    "ArtifactCommit_Leave",
    "ArtifactRollback_Leave",
    "ArtifactFailure_Enter",
)


class ScenarioScripts:
    """Scripts that change nothing, and look whether what they stand for has happened."""

    def __init__(self, world: World, instants: Instants) -> None:
        self._world, self._instants = world, instants

    def run(
        self,
        state: ScriptState,
        action: Action,
        components: Sequence[str],
        on_failure: OnFailure = OnFailure.STOP,
    ) -> None:
        self._instants.here()
        name = f"{state}_{action}"
        if name in _TELLING:
            self._expect_truth(name, components)
        if name == self._world.scenario.script:
            raise InstallFailed(f"{name}: it broke", FailureClass.SCRIPT)

    def _expect_truth(self, name: str, components: Sequence[str]) -> None:
        world, facts = self._world, self._world.facts
        part = [one for one in world.scenario.parts if one.name in components]
        rootfs = any(one.is_rootfs for one in part)
        files = {
            world.file(one, facts.running).read_bytes()
            for one in part
            if not (one.is_rootfs or one.name in world.scenario.final)
        }
        match name:
            case "ArtifactInstall_Leave":
                assert files <= {NEW_FILE}, f"{name}, and it is not installed"
            case "ArtifactReboot_Leave" | "ArtifactCommit_Enter" if rootfs:
                assert facts.running == "b", f"{name}, and the new slot does not run"
            case "ArtifactCommit_Leave":
                assert files <= {NEW_FILE}, f"{name}, and it is not installed"
                assert not rootfs or facts.primary == "b", f"{name}, and it is not committed"
            case "ArtifactRollback_Leave" if not rootfs:
                failing = world.scenario.fault is Fault.ROLLBACK
                assert failing or files <= {OLD_FILE}, f"{name}, and it is not rolled back"
            case "ArtifactFailure_Enter":
                assert facts.primary == "a", f"{name}, and the new slot is committed"

    def check_image(self) -> None:
        pass

    def clear(self) -> None:
        """Remove what artifacts brought, as the real ones do."""
        self._instants.here()
        kept.clear(self._world.kept_scripts)


class PowerButton:
    def __init__(self, instants: Instants) -> None:
        self._instants = instants

    def reboot(self) -> None:
        self._instants.here()
        self._instants.sync_all()
        raise Restarted


def crashing_ports(world: World, instants: Instants) -> Ports:
    fault, on_rootfs = world.scenario.fault, world.scenario.faulty == "os"
    commit_fault = fault if on_rootfs else Fault.NONE
    bootloader = CrashingBootloader(FileBootloader(world.root), instants, commit_fault)
    kind = FailingRootfs if fault is Fault.INSTALL and on_rootfs else RootfsAB
    installers: dict[str, Installer] = {
        ROOTFS_AB: kind(world.slots, bootloader, world.root),
        MENDER: FilesArtifact(world, instants),
        "files": FilesModule(world, instants),
    }
    return Ports(
        trust=ScenarioTrust(world, instants),
        source=TornSource(world, instants),
        installer=installers.__getitem__,
        bootloader=bootloader,
        machine=PowerButton(instants),
        health=ScenarioHealth(world, instants),
        scripts=ScenarioScripts(world, instants),
        owner=ScenarioOwner(world, instants),
        clock=FakeClock(),
        attributes={"hardware": "x86"},
        new_id=lambda: secrets.token_hex(16),
    )
