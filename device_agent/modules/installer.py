"""Update Modules as an Installer: Mender's calls in Mender's order, for one component.

Calls, per method: download() ProvidePayloadFileSizes, Download; install() ArtifactInstall;
reboot_need() NeedsArtifactReboot; activate() ArtifactReboot; verify() ArtifactVerifyReboot;
commit() ArtifactCommit; supports_rollback() SupportsRollback; rollback() ArtifactRollback;
rollback_reboot() ArtifactRollbackReboot; verify_rollback() ArtifactVerifyRollbackReboot;
failure() ArtifactFailure; cleanup() Cleanup.
"""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from device_agent import durable
from device_agent.core.component import Component, RebootNeed
from device_agent.errors import InstallFailed, UpdateRejected
from device_agent.modules.payload import OpaqueFile, Payload
from device_agent.modules.program import Limits, Program
from device_agent.modules.protocol import Call, ProtocolError, reboot_need, yes_or_no
from device_agent.modules.search import find_module
from device_agent.modules.settle import settle
from device_agent.modules.tree import Current, Tree
from device_agent.ports import ArtifactSource
from schemas.wire.report import FailureClass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModuleSettings:
    """What every module of a device shares.

    `directories` are searched in order; trees lie below `state_dir`; `environment` is all that a
    module's process gets; `settle` syncs the disks.
    """

    directories: tuple[Path, ...]
    state_dir: Path
    device_type: str
    environment: Mapping[str, str]
    limits: Limits = field(default_factory=Limits)
    settle: Callable[[Mapping[str, str]], None] = settle

    def tree(self, component: str) -> Tree:
        """Return the component's own tree, under the path that Mender's modules know."""
        root = self.state_dir / "modules" / "v3" / "payloads"
        return Tree(root / component / "tree")


class UpdateModuleInstaller:
    """Runs the module `name`. `installed` returns a component's release id before the update."""

    def __init__(
        self, name: str, settings: ModuleSettings, installed: Callable[[str], str | None]
    ) -> None:
        self._name, self._settings, self._installed = name, settings, installed

    def download(self, component: Component, source: ArtifactSource) -> None:
        """Give the module the artifact itself, byte for byte."""
        current = Current(self._installed(component.name), None, self._settings.device_type)
        self.receive(component, OpaqueFile(component, source), current)

    def receive(self, component: Component, payload: Payload, current: Current) -> None:
        """Make the component's tree anew, and give the module `payload`, of whatever format.

        Raises as download() does.
        """
        program = self._program(component)
        with self._failing(f"tree {program.tree.path}", FailureClass.DOWNLOAD):
            program.tree.create(current, payload.header)
            with_sizes = self._query(component, Call.PROVIDE_PAYLOAD_FILE_SIZES, yes_or_no)
            call = Call.DOWNLOAD_WITH_FILE_SIZES if with_sizes else Call.DOWNLOAD
            program.download(call, payload)

    def install(self, component: Component) -> None:
        self._call(component, Call.ARTIFACT_INSTALL, FailureClass.INSTALL)

    def reboot_need(self, component: Component) -> RebootNeed:
        """Ask the module. Its answer after a rollback may differ from the first one, and counts."""
        need = self._query(component, Call.NEEDS_ARTIFACT_REBOOT, reboot_need)
        with self._failing("its answer to NeedsArtifactReboot", FailureClass.SCRIPT):
            durable.write(self._answer_path(component), need.encode())
        return need

    def activate(self, component: Component) -> None:
        """Call ArtifactReboot if the module said that it reboots by itself."""
        with self._failing("its answer to NeedsArtifactReboot", FailureClass.REBOOT):
            need = self._answer_path(component).read_text(encoding="ascii")
        if need == RebootNeed.MODULE:
            self._call(component, Call.ARTIFACT_REBOOT, FailureClass.REBOOT)

    def verify(self, component: Component) -> None:
        self._call(component, Call.ARTIFACT_VERIFY_REBOOT, FailureClass.REBOOT)

    def commit(self, component: Component) -> None:
        """Call ArtifactCommit; what was installed is on the disk by then."""
        self._settings.settle(self._settings.environment)
        self._call(component, Call.ARTIFACT_COMMIT, FailureClass.COMMIT)

    def supports_rollback(self, component: Component) -> bool:
        return self._query(component, Call.SUPPORTS_ROLLBACK, yes_or_no)

    def rollback(self, component: Component) -> None:
        self._call(component, Call.ARTIFACT_ROLLBACK, FailureClass.ROLLBACK)

    def rollback_reboot(self, component: Component) -> None:
        self._call(component, Call.ARTIFACT_ROLLBACK_REBOOT, FailureClass.ROLLBACK)

    def verify_rollback(self, component: Component) -> None:
        self._call(component, Call.ARTIFACT_VERIFY_ROLLBACK_REBOOT, FailureClass.ROLLBACK)

    def failure(self, component: Component) -> None:
        self._call(component, Call.ARTIFACT_FAILURE, FailureClass.SCRIPT)

    def cleanup(self, component: Component) -> None:
        """Call Cleanup, and remove the tree whatever came of it. Without a tree: no call."""
        tree = self._settings.tree(component.name)
        if not os.path.lexists(tree.path):
            remove_tree(tree)
            return
        try:
            if tree.exists:
                self._call(component, Call.CLEANUP, FailureClass.SCRIPT)
        finally:
            with self._failing(f"tree {tree.path}", FailureClass.SCRIPT):
                durable.remove(self._answer_path(component))
                remove_tree(tree)

    def _call(self, component: Component, call: Call, failure: FailureClass) -> None:
        self._found(component).call(call, failure)

    def _query(self, component: Component, call: Call, read: Callable[[bytes], T]) -> T:
        done = self._found(component).call(call, FailureClass.SCRIPT)
        try:
            if done.truncated:
                raise ProtocolError("far more than one line was answered")
            return read(done.stdout)
        except ProtocolError as error:
            raise InstallFailed(
                f"module {self._name}: {call}: {error}", FailureClass.SCRIPT
            ) from error

    def _found(self, component: Component) -> Program:
        """Return the program. Here a module that is gone has failed: its download has begun."""
        try:
            return self._program(component)
        except UpdateRejected as error:
            raise InstallFailed(error.message, FailureClass.SCRIPT) from error

    def _program(self, component: Component) -> Program:
        settings = self._settings
        return Program(
            path=find_module(self._name, settings.directories),
            tree=self._settings.tree(component.name),
            environment=settings.environment,
            limits=settings.limits,
        )

    def _answer_path(self, component: Component) -> Path:
        """Return where the answer to NeedsArtifactReboot lies: it must outlive this process."""
        return self._settings.tree(component.name).path.with_name("reboot-need")

    @contextmanager
    def _failing(self, what: str, failure: FailureClass) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise failed(f"module {self._name}: {what}", error, failure) from error


def remove_tree(tree: Tree) -> None:
    """Remove the tree, and its component's directory if that is empty then. Raises OSError.

    Again: no effect.
    """
    tree.remove()
    with suppress(OSError):  # not empty, or gone; a directory that stays empty harms nobody
        tree.path.parent.rmdir()


def failed(what: str, error: OSError, failure: FailureClass) -> InstallFailed:
    """Return `error` as it is reported: of class `failure`, unless the disk is full."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return InstallFailed(f"{what}: {error.strerror}", FailureClass.SPACE if full else failure)
