"""Artifacts of Mender's format as an Installer: opened as they arrive, one module per payload."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from device_agent.artifact.policy import ArtifactPolicy, expect_signed_bootstrap
from device_agent.artifact.provides import GROUP, NAME, contents, expect_fitting
from device_agent.artifact.reader import Artifact, Header
from device_agent.core.component import Component, Contents, RebootNeed, payloads
from device_agent.errors import InstallFailed
from device_agent.modules.installer import (
    ModuleSettings,
    UpdateModuleInstaller,
    failed,
    remove_tree,
)
from device_agent.modules.one_pass import ArtifactPayload, OnePass, module_headers
from device_agent.modules.search import find_module
from device_agent.modules.tree import Current
from device_agent.ports import ArtifactSource
from schemas.artifact.header import MAX_PAYLOADS, Script
from schemas.wire.report import FailureClass

# Keeps the state scripts that a component's artifact brought, in the place of any from before.
KeepScripts = Callable[[str, Sequence[Script]], None]


@dataclass(frozen=True, slots=True)
class Installed:
    """What the device has: its provides, and by component the release that was there before."""

    provides: Callable[[], Mapping[str, str]]
    release: Callable[[str], str | None]


class MenderInstaller:
    """Installs what an artifact holds, each payload by the module that its type names.

    download() takes a component that names no module yet; everything after it, one of those that
    core.component.payloads() makes of it.
    """

    def __init__(
        self,
        settings: ModuleSettings,
        policy: ArtifactPolicy,
        installed: Installed,
        keep_scripts: KeepScripts,
    ) -> None:
        self._settings, self._policy = settings, policy
        self._installed, self._keep_scripts = installed, keep_scripts

    def download(self, component: Component, source: ArtifactSource) -> Contents:
        """Open the artifact, and give its payloads to their modules, in one pass to its end.

        Before anything is changed the device, the keys and all modules are looked at.
        """
        artifact = Artifact(
            source.stream(component.artifact), keys=self._policy.keys, limits=self._policy.limits
        )
        header = artifact.header
        with closing(OnePass(artifact)) as files:
            self._expect_acceptable(header)
            told, found = module_headers(header), contents(header)
            self._keep(component, header.scripts)
            current = self._current(component)
            parts = payloads(component, found)
            for part, (number, each) in zip(parts, told.items(), strict=True):
                payload = ArtifactPayload(number, each, files)
                self._module(part).receive(part, payload, current)
            files.finish()
        return found

    def install(self, component: Component) -> None:
        self._module(component).install(component)

    def reboot_need(self, component: Component) -> RebootNeed:
        return self._module(component).reboot_need(component)

    def activate(self, component: Component) -> None:
        self._module(component).activate(component)

    def verify(self, component: Component) -> None:
        self._module(component).verify(component)

    def commit(self, component: Component) -> None:
        self._module(component).commit(component)

    def supports_rollback(self, component: Component) -> bool:
        return self._module(component).supports_rollback(component)

    def rollback(self, component: Component) -> None:
        self._module(component).rollback(component)

    def rollback_reboot(self, component: Component) -> None:
        self._module(component).rollback_reboot(component)

    def verify_rollback(self, component: Component) -> None:
        self._module(component).verify_rollback(component)

    def failure(self, component: Component) -> None:
        """Call ArtifactFailure; a download that broke off has changed nothing: no call."""
        if component.module is not None:
            self._module(component).failure(component)

    def cleanup(self, component: Component) -> None:
        """Call Cleanup; after a download that broke off, of all modules that it had called.

        Raises InstallFailed that names all that failed, when all were called.
        """
        failures = []
        for part in (component,) if component.module is not None else self._begun(component):
            try:
                self._clean(part)
            except InstallFailed as error:
                failures.append(error)
        if failures:
            raise _together(failures) from failures[0]

    def _clean(self, part: Component) -> None:
        if part.module is not None:
            self._module(part).cleanup(part)
            return
        tree = self._settings.tree(part.name)
        try:
            remove_tree(tree)
        except OSError as error:
            raise failed(f"tree {tree.path}", error, FailureClass.SCRIPT) from error

    def _expect_acceptable(self, header: Header) -> None:
        expect_signed_bootstrap(header, self._policy)
        expect_fitting(header, self._installed.provides(), self._settings.device_type)
        for payload in header.payloads:
            if payload.type is not None:
                find_module(payload.type, self._settings.directories)

    def _keep(self, component: Component, scripts: Sequence[Script]) -> None:
        try:
            self._keep_scripts(component.name, scripts)
        except OSError as error:
            what = "the artifact's state scripts cannot be kept"
            raise failed(what, error, FailureClass.DOWNLOAD) from error

    def _current(self, component: Component) -> Current:
        provides = self._installed.provides()
        name = provides.get(NAME) or self._installed.release(component.name)
        return Current(name, provides.get(GROUP), self._settings.device_type)

    def _begun(self, component: Component) -> Iterator[Component]:
        """Yield all parts that there can be. One whose tree names no module has served none."""
        numbers = Contents(name="", modules=("",) * MAX_PAYLOADS)
        for part in payloads(component, numbers):
            yield replace(part, module=self._settings.tree(part.name).payload_type)

    def _module(self, component: Component) -> UpdateModuleInstaller:
        if component.module is None:
            raise InstallFailed(
                f"{component.name}: its artifact was not downloaded to the end",
                FailureClass.INSTALL,
            )
        return UpdateModuleInstaller(component.module, self._settings, self._installed.release)


def _together(failures: Sequence[InstallFailed]) -> InstallFailed:
    """Return one failure that says them all. The first one's class is its class."""
    return InstallFailed("; ".join(each.message for each in failures), failures[0].failure)
