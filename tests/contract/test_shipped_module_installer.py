"""The agent's own installer runs the shipped modules, from the download to the cleanup."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agent.core.component import Component, RebootNeed
from device_agent.errors import InstallFailed
from device_agent.modules.installer import ModuleSettings, UpdateModuleInstaller
from device_agent.modules.payload import Header, PayloadFile
from device_agent.modules.shipped import DIRECTORY
from device_agent.modules.tree import Current
from tests.support.installing import component
from tests.support.shipped_modules import PATH


@dataclass(frozen=True, slots=True)
class Files:
    """A payload as an artifact brings it."""

    contents: Mapping[str, bytes]

    @property
    def header(self) -> Header:
        return Header("app-1.5.0", "", "single-file", b"{}", b"{}", b"null")

    def files(self) -> Iterator[PayloadFile]:
        for name, content in self.contents.items():
            yield PayloadFile(name, len(content), iter([content]))


def installing(
    root: Path, name: str, contents: Mapping[str, bytes]
) -> tuple[UpdateModuleInstaller, Component]:
    """Return an installer and its component, downloaded."""
    settings = ModuleSettings((DIRECTORY,), root / "state", "rpi4", {"PATH": PATH})
    installer = UpdateModuleInstaller(name, settings, {"app": "app@1.4.2"}.get)
    app = component(b"", name="app", installer=name)
    installer.receive(app, Files(contents), Current("app-1.4.2", "", "rpi4"))
    return installer, app


def one_file(root: Path) -> dict[str, bytes]:
    return {
        "dest_dir": f"{root}\n".encode(),
        "filename": b"app.conf\n",
        "permissions": b"644\n",
        "app.conf": b"new",
    }


def test_an_update_is_installed_committed_and_leaves_no_tree(tmp_path: Path) -> None:
    installer, app = installing(tmp_path, "single-file", one_file(tmp_path))
    installer.install(app)
    assert installer.reboot_need(app) is RebootNeed.NO
    installer.activate(app)
    installer.commit(app)
    installer.cleanup(app)
    assert (tmp_path / "app.conf").read_bytes() == b"new"
    assert not list((tmp_path / "state").rglob("tree"))


def test_an_update_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "app.conf").write_bytes(b"old")
    installer, app = installing(tmp_path, "single-file", one_file(tmp_path))
    installer.install(app)
    assert installer.supports_rollback(app)
    installer.rollback(app)
    installer.failure(app)
    installer.cleanup(app)
    assert (tmp_path / "app.conf").read_bytes() == b"old"


def test_what_the_module_refuses_is_said_in_the_failure(tmp_path: Path) -> None:
    installer, app = installing(tmp_path, "single-file", {**one_file(tmp_path), "filename": b"/"})
    with pytest.raises(InstallFailed, match="filename '/' must be a plain file name"):
        installer.install(app)


def test_a_failing_script_cannot_be_taken_back(tmp_path: Path) -> None:
    installer, app = installing(tmp_path, "script", {"a": b"#!/bin/sh\nexit 7\n"})
    with pytest.raises(InstallFailed, match="a exited with status 7"):
        installer.install(app)
    assert not installer.supports_rollback(app)
