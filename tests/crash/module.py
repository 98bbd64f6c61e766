"""Update Modules that run inside the test: the real installer and the real tree around a program
that may be cut off in the middle of a call, and that notices when it is called out of turn."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from device_agent.artifact.policy import ArtifactPolicy, UnsignedBootstrap
from device_agent.core.component import Component, RebootNeed
from device_agent.errors import InstallFailed
from device_agent.modules.installer import UpdateModuleInstaller
from device_agent.modules.mender import Installed, MenderInstaller
from device_agent.modules.payload import DEFAULT_NAME, Payload
from device_agent.modules.program import Program
from device_agent.modules.protocol import Call
from device_agent.modules.stream import store
from device_agent.process import Completed
from device_agent.scripts import kept
from schemas.wire.descriptor import Scope
from schemas.wire.report import FailureClass
from tests.crash.instants import Instants
from tests.crash.scenarios import NEW_FILE, OLD_FILE, OLD_PROVIDES, Fault
from tests.crash.world import World

_ANSWERS = {RebootNeed.NO: b"No", RebootNeed.MODULE: b"Yes", RebootNeed.AGENT: b"Automatic"}


@dataclass(frozen=True, slots=True)
class FilesProgram(Program):
    """Replaces a file, keeps the old one in its tree, and syncs what it wrote before it ends.

    `needs-restart` is there from an installation to the next restart; `committed` and `told` are
    what ArtifactCommit and ArtifactFailure leave.
    """

    world: World
    instants: Instants
    component: Component

    def call(self, call: Call, failure: FailureClass) -> Completed:
        if not self.tree.exists:
            raise InstallFailed(f"{call}: the tree is gone", failure)
        self.instants.here()
        answer = b""
        match call:
            case Call.ARTIFACT_INSTALL:
                self._install()
            case Call.NEEDS_ARTIFACT_REBOOT:
                answer = _ANSWERS[self.world.scenario.restart]
            case Call.ARTIFACT_REBOOT | Call.ARTIFACT_ROLLBACK_REBOOT:
                self._restart()
            case Call.ARTIFACT_VERIFY_REBOOT | Call.ARTIFACT_VERIFY_ROLLBACK_REBOOT:
                self._verify(call, failure)
            case Call.ARTIFACT_COMMIT:
                self._commit()
            case Call.SUPPORTS_ROLLBACK:
                final = self.component.name in self.world.scenario.final
                answer = b"No" if final else b"Yes"
            case Call.ARTIFACT_ROLLBACK:
                self._roll_back()
            case Call.ARTIFACT_FAILURE:
                self._told.touch()
            case Call.CLEANUP:
                self._expect_told()
        self.instants.sync_all()
        self.instants.here()
        return Completed(0, answer, b"", timed_out=False, truncated=False)

    def download(self, call: Call, payload: Payload) -> None:
        """Leave the payload to the agent, which stores it in the tree."""
        self.instants.here()
        assert call is Call.DOWNLOAD
        store(payload, self.tree)

    def _install(self) -> None:
        name, file = self.component.name, self._file
        assert not self._saved.exists(), f"{name}: ArtifactInstall was called twice"
        payload = (self.tree.files / DEFAULT_NAME).read_bytes()
        assert payload == NEW_FILE, f"{name}: ArtifactInstall was called with half a payload"
        self._expect_to_be_in_turn()
        temporary = self._saved.with_suffix(".new")
        temporary.write_bytes(file.read_bytes())
        temporary.replace(self._saved)
        self.instants.sync_all()
        self.instants.here()
        file.write_bytes(NEW_FILE[:3])
        self.instants.here()
        self._fail(Fault.INSTALL, FailureClass.INSTALL)
        file.write_bytes(NEW_FILE)
        if self.world.scenario.restart is not RebootNeed.NO:
            self._needs_restart.touch()

    def _expect_to_be_in_turn(self) -> None:
        """What cannot be undone comes last: nothing that can still fail follows it."""
        scenario, name = self.world.scenario, self.component.name
        if name in scenario.final and self.component.descriptor.scope is Scope.DATA:
            others = [part for part in scenario.parts if not part.is_rootfs and part.name != name]
            installed = (self.world.tree(part).path / "tmp" / "saved" for part in others)
            assert all(path.exists() for path in installed), f"{name}: installed too early"

    def _restart(self) -> None:
        if self.world.scenario.fault is not Fault.NEVER_BACK:
            self._needs_restart.unlink(missing_ok=True)

    def _verify(self, call: Call, failure: FailureClass) -> None:
        if call is Call.ARTIFACT_VERIFY_REBOOT:
            self._fail(Fault.VERIFY, failure)
        if self._needs_restart.exists():
            raise InstallFailed(f"{call}: there was no restart", failure)

    def _commit(self) -> None:
        self._fail(Fault.COMMIT, FailureClass.COMMIT)
        assert self._file.read_bytes() == NEW_FILE, f"{self.component.name}: committed too early"
        self._committed.touch()

    def _roll_back(self) -> None:
        assert self.component.name not in self.world.scenario.final, "it said that it cannot"
        self._expect_the_later_ones_to_be_undone()
        self._fail(Fault.ROLLBACK, FailureClass.ROLLBACK)
        if self._saved.exists():
            self._file.write_bytes(b"")
            self.instants.here()
            self._file.write_bytes(self._saved.read_bytes())
            if self.world.scenario.restart is not RebootNeed.NO:
                self._needs_restart.touch()
        self._committed.unlink(missing_ok=True)

    def _expect_the_later_ones_to_be_undone(self) -> None:
        scenario, slot = self.world.scenario, self.world.facts.running
        order = sorted(scenario.parts, key=lambda part: part.name in scenario.final)
        for part in order[order.index(self.component) + 1 :]:
            undone = self.world.file(part, slot).read_bytes() == OLD_FILE
            beside = part.descriptor.scope is Scope.SLOT and scenario.parts[0].is_rootfs
            told = undone or beside or part.name in scenario.final
            assert told, f"{self.component.name} is rolled back before {part.name}"

    def _expect_told(self) -> None:
        """Cleanup: a module that was begun, and was not kept, has heard ArtifactFailure before."""
        ended = self._told.exists() or self._committed.exists() or not self._saved.exists()
        assert ended or self.world.committed(), f"{self.component.name}: never told that it failed"

    def _fail(self, fault: Fault, failure: FailureClass) -> None:
        scenario = self.world.scenario
        if scenario.fault is fault and scenario.faulty in ("", self.component.name):
            raise InstallFailed(str(fault), failure)

    @property
    def _file(self) -> Path:
        return self.world.file(self.component, self.world.facts.running)

    @property
    def _saved(self) -> Path:
        return self.tree.path / "tmp" / "saved"

    @property
    def _told(self) -> Path:
        return self.world.mark(self.component, "told")

    @property
    def _needs_restart(self) -> Path:
        return self.world.mark(self.component, "needs-restart")

    @property
    def _committed(self) -> Path:
        return self.world.mark(self.component, "committed")


class FilesModule(UpdateModuleInstaller):
    """The installer of modules, with a FilesProgram in the place of a child process."""

    def __init__(self, world: World, instants: Instants) -> None:
        super().__init__("files", world.modules, lambda _: None)
        self._world, self._instants = world, instants

    def _program(self, component: Component) -> Program:
        tree = self._world.tree(component)
        shared = self._world.modules
        return FilesProgram(
            Path("files"), tree, {}, shared.limits, self._world, self._instants, component
        )


class FilesArtifact(MenderInstaller):
    """The installer of artifacts of Mender's format, which hands its payloads to FilesPrograms."""

    def __init__(self, world: World, instants: Instants) -> None:
        installed = Installed(lambda: OLD_PROVIDES, lambda _: None)
        super().__init__(
            world.modules,
            ArtifactPolicy(unsigned_bootstrap=UnsignedBootstrap.ACCEPT),
            installed,
            partial(kept.keep, world.kept_scripts),
        )
        self._files = FilesModule(world, instants)

    def _module(self, component: Component) -> UpdateModuleInstaller:
        super()._module(component)  # it refuses a component that names no module yet
        return self._files
