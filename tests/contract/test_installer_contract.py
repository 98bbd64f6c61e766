"""What every installer promises to the driver: steps may be repeated, and half is nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from device_agent.boot.file import FileBootloader
from device_agent.boot.firmware import boot
from device_agent.core.component import Component, RebootNeed
from device_agent.errors import InstallFailed, TransientError, UpdateRejected
from device_agent.install.rootfs_ab import RootfsAB
from device_agent.ports import Installer
from schemas.refusal import Code
from tests.support.artifacts import Build
from tests.support.installing import BytesSource, component, source_of
from tests.support.mender_device import MenderDevice, app
from tests.support.modules_device import ModuleDevice

OLD, NEW = b"the old content" * 2000, b"the new content" * 2000


class Rig(Protocol):
    """A device that runs OLD, and a component that brings NEW."""

    @property
    def component(self) -> Component: ...

    @property
    def stored(self) -> bytes:
        """Return the artifact's bytes. NEW lies in them as it is."""
        ...

    @property
    def installer(self) -> Installer:
        """An installer as a freshly started agent builds it: it remembers nothing."""
        ...

    def restart(self) -> None:
        """Reboot the device."""
        ...

    def active(self) -> bytes:
        """Return the content that the device uses now."""
        ...


class RootfsRig:
    component, stored = component(NEW), NEW

    def __init__(self, root: Path) -> None:
        self._root = root
        self._slots = {name: root / f"{name}.img" for name in "ab"}
        for path in self._slots.values():
            path.write_bytes(OLD)
        self.restart()

    @property
    def installer(self) -> Installer:
        return RootfsAB(self._slots, FileBootloader(self._root), self._root)

    def restart(self) -> None:
        self._running = boot(self._root).slot

    def active(self) -> bytes:
        return self._slots[self._running].read_bytes()


class ModuleRig:
    """A module that replaces a file, keeps the old one, and is asked about a reboot."""

    component, stored = component(NEW, name="app", installer="recorder"), NEW

    def __init__(self, root: Path) -> None:
        self._device = ModuleDevice(root)
        self._target = root / "target"
        self._target.write_bytes(OLD)
        script = self._device.script
        for call, text in replacing(self._target).items():
            script(call, text)

    @property
    def installer(self) -> Installer:
        return self._device.installer

    def restart(self) -> None:
        """A reboot changes nothing for a file that is already replaced."""

    def active(self) -> bytes:
        return self._target.read_bytes()


class MenderRig(ModuleRig):
    """The same module, named by an artifact of Mender's format."""

    stored = Build(payloads=({"payload": NEW},), kinds=("replaces",)).bytes()
    component = replace(app(stored), module="replaces")

    def __init__(self, root: Path) -> None:
        self._target = root / "target"
        self._target.write_bytes(OLD)
        self._mender = MenderDevice(root)
        self._mender.module("replaces", replacing(self._target))

    @property
    def installer(self) -> Installer:
        return self._mender.installer


def replacing(target: Path) -> dict[str, str]:
    """Return what a module does that replaces `target`, and keeps the old file."""
    return {
        "ArtifactInstall": f"[ -e tmp/old ] || cp {target} tmp/old\ncp files/payload {target}",
        "ArtifactRollback": f"[ ! -e tmp/old ] || cp tmp/old {target}",
        "SupportsRollback": "echo Yes",
        "NeedsArtifactReboot": "echo Automatic",
    }


RIGS: dict[str, Callable[[Path], Rig]] = {
    "rootfs-ab": RootfsRig,
    "update-module": ModuleRig,
    "mender": MenderRig,
}


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    return RIGS[request.param](tmp_path)


def up_to_reboot(rig: Rig) -> None:
    rig.installer.download(rig.component, source_of(rig.stored))
    rig.installer.install(rig.component)
    assert rig.installer.reboot_need(rig.component) is RebootNeed.AGENT
    rig.installer.activate(rig.component)
    rig.restart()


def test_an_update_that_is_committed_stays(rig: Rig) -> None:
    up_to_reboot(rig)
    rig.installer.verify(rig.component)
    rig.installer.commit(rig.component)
    rig.installer.cleanup(rig.component)
    rig.restart()
    assert rig.active() == NEW


def test_a_download_alone_changes_nothing_that_is_used(rig: Rig) -> None:
    rig.installer.download(rig.component, source_of(rig.stored))
    rig.restart()
    assert rig.active() == OLD


def test_every_step_may_be_done_twice(rig: Rig) -> None:
    rig.installer.download(rig.component, source_of(rig.stored))
    rig.installer.download(rig.component, source_of(rig.stored))
    rig.installer.install(rig.component)
    rig.installer.install(rig.component)
    for _ in range(2):
        assert rig.installer.reboot_need(rig.component) is RebootNeed.AGENT
    rig.installer.activate(rig.component)
    rig.installer.activate(rig.component)
    rig.restart()
    rig.installer.verify(rig.component)
    rig.installer.verify(rig.component)
    rig.installer.commit(rig.component)
    rig.installer.commit(rig.component)
    rig.installer.cleanup(rig.component)
    rig.installer.cleanup(rig.component)
    assert rig.active() == NEW


def test_a_rollback_brings_the_old_content_back_and_may_be_done_twice(rig: Rig) -> None:
    up_to_reboot(rig)
    assert rig.installer.supports_rollback(rig.component)
    rig.installer.rollback(rig.component)
    rig.installer.rollback(rig.component)
    rig.installer.rollback_reboot(rig.component)
    rig.restart()
    rig.installer.verify_rollback(rig.component)
    rig.installer.failure(rig.component)
    rig.installer.cleanup(rig.component)
    assert rig.active() == OLD


def test_after_a_cleanup_nothing_of_the_deployment_can_be_installed(rig: Rig) -> None:
    rig.installer.download(rig.component, source_of(rig.stored))
    rig.installer.cleanup(rig.component)
    with pytest.raises(InstallFailed):
        rig.installer.install(rig.component)


def test_nothing_is_installed_that_was_not_downloaded(rig: Rig) -> None:
    with pytest.raises(InstallFailed):
        rig.installer.install(rig.component)
    assert rig.active() == OLD


def test_cleanup_after_nothing_is_no_error(rig: Rig) -> None:
    rig.installer.cleanup(rig.component)
    assert rig.active() == OLD


@pytest.mark.parametrize("breaks_at", [0, 1, 4096, -1, None], ids=repr)
def test_a_network_that_breaks_is_transient_and_the_next_download_works(
    rig: Rig, breaks_at: int | None
) -> None:
    passed = len(rig.stored[:breaks_at])
    with pytest.raises(TransientError):
        rig.installer.download(rig.component, BytesSource(rig.stored, breaks_at=passed))
    rig.restart()
    assert rig.active() == OLD
    up_to_reboot(rig)
    rig.installer.verify(rig.component)
    assert rig.active() == NEW


def test_wrong_bytes_are_refused_and_change_nothing_that_is_used(rig: Rig) -> None:
    wrong = rig.stored.replace(NEW, NEW[:-1] + b"!")
    with pytest.raises(UpdateRejected) as caught:
        rig.installer.download(rig.component, BytesSource(wrong))
    assert caught.value.code is Code.HASH
    rig.installer.cleanup(rig.component)
    rig.restart()
    assert rig.active() == OLD


def test_a_rollback_after_a_failed_install_keeps_the_old_content(rig: Rig) -> None:
    rig.installer.download(rig.component, source_of(rig.stored))
    rig.installer.rollback(rig.component)
    rig.restart()
    assert rig.active() == OLD
