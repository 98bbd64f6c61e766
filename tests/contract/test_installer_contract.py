"""What every installer promises to the driver: steps may be repeated, and half is nothing."""

from collections.abc import Callable
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
from tests.support.installing import BytesSource, component, source_of
from tests.support.modules_device import ModuleDevice

OLD, NEW = b"the old content" * 2000, b"the new content" * 2000


class Rig(Protocol):
    """A device that runs OLD, and a component that brings NEW."""

    @property
    def component(self) -> Component: ...

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
    component = component(NEW)

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

    component = component(NEW, name="app", installer="recorder")

    def __init__(self, root: Path) -> None:
        self._device = ModuleDevice(root)
        self._target = root / "target"
        self._target.write_bytes(OLD)
        script = self._device.script
        script(
            "ArtifactInstall",
            f"[ -e tmp/old ] || cp {self._target} tmp/old\ncp files/payload {self._target}",
        )
        script("ArtifactRollback", f"[ ! -e tmp/old ] || cp tmp/old {self._target}")
        script("SupportsRollback", "echo Yes")
        script("NeedsArtifactReboot", "echo Automatic")

    @property
    def installer(self) -> Installer:
        return self._device.installer

    def restart(self) -> None:
        """A reboot changes nothing for a file that is already replaced."""

    def active(self) -> bytes:
        return self._target.read_bytes()


RIGS: dict[str, Callable[[Path], Rig]] = {"rootfs-ab": RootfsRig, "update-module": ModuleRig}


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    return RIGS[request.param](tmp_path)


def up_to_reboot(rig: Rig) -> None:
    rig.installer.download(rig.component, source_of(NEW))
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
    rig.installer.download(rig.component, source_of(NEW))
    rig.restart()
    assert rig.active() == OLD


def test_every_step_may_be_done_twice(rig: Rig) -> None:
    rig.installer.download(rig.component, source_of(NEW))
    rig.installer.download(rig.component, source_of(NEW))
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
    rig.installer.download(rig.component, source_of(NEW))
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


@pytest.mark.parametrize("breaks_at", [0, 1, 4096, len(NEW) - 1, len(NEW)])
def test_a_network_that_breaks_is_transient_and_the_next_download_works(
    rig: Rig, breaks_at: int
) -> None:
    with pytest.raises(TransientError):
        rig.installer.download(rig.component, BytesSource(NEW, breaks_at=breaks_at))
    rig.restart()
    assert rig.active() == OLD
    up_to_reboot(rig)
    rig.installer.verify(rig.component)
    assert rig.active() == NEW


def test_wrong_bytes_are_refused_and_change_nothing_that_is_used(rig: Rig) -> None:
    with pytest.raises(UpdateRejected) as caught:
        rig.installer.download(rig.component, BytesSource(NEW[:-1] + b"!"))
    assert caught.value.code is Code.HASH
    rig.installer.cleanup(rig.component)
    rig.restart()
    assert rig.active() == OLD


def test_a_rollback_after_a_failed_install_keeps_the_old_content(rig: Rig) -> None:
    rig.installer.download(rig.component, source_of(NEW))
    rig.installer.rollback(rig.component)
    rig.restart()
    assert rig.active() == OLD
