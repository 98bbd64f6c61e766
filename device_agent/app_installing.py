"""Builds what installs: the installer that a descriptor names, Update Modules, state scripts."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from device_agent.app_device import environment, facts
from device_agent.errors import UpdateRejected
from device_agent.journal import Journal
from device_agent.settings import Local, Misconfigured
from schemas.refusal import Code
from schemas.wire.report import FailureClass

if TYPE_CHECKING:
    from device_agent.artifact.policy import ArtifactPolicy
    from device_agent.artifact.reader import TrustedKey
    from device_agent.modules.installer import ModuleSettings
    from device_agent.ports import Bootloader, Installer
    from device_agent.scripts.state_scripts import StateScripts

BOOTSTRAP = "bootstrap.mender"  # an artifact in the state directory
KEY_LIMIT = 64 * 1024  # bytes of a key that verifies artifacts

log = logging.getLogger(__name__)


class Installers:
    """Finds the installer that a descriptor names: rootfs-ab, mender, or an Update Module."""

    def __init__(self, settings: Local, opened: Journal, loader: "Bootloader") -> None:
        self._settings, self._journal, self._loader = settings, opened, loader

    def find(self, name: str) -> "Installer":
        from device_agent.install.rootfs_ab import RootfsAB
        from device_agent.modules.installer import UpdateModuleInstaller
        from schemas.wire.descriptor import MENDER, ROOTFS_AB

        settings = self._settings
        if name == ROOTFS_AB:
            return RootfsAB(settings.boot.slots, self._loader, settings.device.state)
        if name == MENDER:
            return mender(settings, self._journal)
        return UpdateModuleInstaller(name, module_settings(settings), self._installed)

    def _installed(self, component: str) -> str | None:
        return _release(self._journal, component)


def mender(settings: Local, opened: Journal) -> "Installer":
    """Return what installs artifacts of Mender's format. Raises Misconfigured."""
    from device_agent.modules.mender import Installed, MenderInstaller

    return MenderInstaller(
        module_settings(settings),
        artifact_policy(settings),
        Installed(opened.provides, lambda component: _release(opened, component)),
        scripts(settings).keep,
    )


def artifact_policy(settings: Local) -> "ArtifactPolicy":
    """Return which artifacts this device opens. Raises Misconfigured."""
    from device_agent.artifact.policy import ArtifactPolicy, UnsignedBootstrap

    unsigned = UnsignedBootstrap(settings.artifacts.unsigned_bootstrap)
    return ArtifactPolicy(artifact_keys(settings), unsigned)


def artifact_keys(settings: Local) -> "tuple[TrustedKey, ...]":
    from device_agent.artifact.reader import load_keys

    try:
        return load_keys(map(_key_file, settings.artifacts.verify_keys))
    except UpdateRejected as error:
        raise Misconfigured(f"artifacts.verify_keys: {error.message}") from error


def _key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(KEY_LIMIT)
    except OSError as error:
        raise Misconfigured(f"artifacts.verify_keys: {path}: {error.strerror}") from error


def bootstrap(settings: Local, opened: Journal) -> UpdateRejected | None:
    """Take the image's bootstrap artifact, if there is one; return why it was refused, if it was.

    What is in progress comes first. Without keys that can be read the artifact stays where it is.
    """
    path = settings.device.state / BOOTSTRAP
    if not path.exists() or opened.record() is not None or opened.standalone() is not None:
        return None
    from device_agent.bootstrap import take

    refused: UpdateRejected | None
    try:
        policy = artifact_policy(settings)
    except Misconfigured as error:
        refused = UpdateRejected(Code.SIGNATURE, str(error), FailureClass.SIGNATURE)
    else:
        refused = take(path, opened, policy, module_settings(settings).device_type)
    if refused:
        log.error("the bootstrap artifact %s is refused: %s", path, refused)
    return refused


def scripts(settings: Local) -> "StateScripts":
    from device_agent.scripts.executor import Limits as ScriptLimits
    from device_agent.scripts.state_scripts import StateScripts

    wanted = settings.scripts
    return StateScripts(
        wanted.directory,
        settings.device.state / "scripts",
        environment=environment(),
        limits=ScriptLimits(
            timeout=wanted.timeout,
            retry_interval=wanted.retry_interval,
            retry_timeout=wanted.retry_timeout,
        ),
        sleep=time.sleep,
        monotonic=time.monotonic,
    )


def module_settings(settings: Local) -> "ModuleSettings":
    from device_agent.modules import shipped
    from device_agent.modules.installer import ModuleSettings
    from device_agent.modules.program import Limits as ModuleLimits

    known = facts(settings)
    return ModuleSettings(
        directories=(*settings.modules.directories, shipped.DIRECTORY),
        state_dir=settings.device.state,
        device_type=known.get("device_type") or known.get("hardware", ""),
        environment=environment(),
        limits=ModuleLimits(timeout=settings.modules.timeout),
    )


def _release(opened: Journal, component: str) -> str | None:
    installed = opened.installed()
    ref = installed.running.content.components.get(component) if installed else None
    return ref.release if ref else None
