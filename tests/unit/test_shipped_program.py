"""The shipped modules as programs: found by the agent, alone with Python's standard library."""

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from device_agent.errors import UpdateRejected
from device_agent.modules.search import find_module
from device_agent.modules.shipped import DIRECTORY
from tests.support.shipped_modules import ShippedModule

NAMES = ("single-file", "directory", "script", "deb")
CODE = sorted((DIRECTORY / "fleetcd_modules").glob("*.py"))
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", NAMES)
def test_the_agent_finds_it(name: str) -> None:
    assert find_module(name, [DIRECTORY]) == DIRECTORY / name


@pytest.mark.parametrize("name", NAMES)
def test_a_devices_own_module_of_the_same_name_goes_before(name: str, tmp_path: Path) -> None:
    own = tmp_path / name
    own.write_bytes(b"#!/bin/sh\n")
    own.chmod(0o755)
    assert find_module(name, [tmp_path, DIRECTORY]) == own


@pytest.mark.parametrize("name", ["fleetcd_modules", "__init__.py", "__pycache__"])
def test_nothing_else_there_is_a_module(name: str) -> None:
    with pytest.raises(UpdateRejected):
        find_module(name, [DIRECTORY])


@pytest.mark.parametrize("name", NAMES)
def test_a_call_that_it_does_not_know_is_silent_success(name: str, tmp_path: Path) -> None:
    module = ShippedModule(tmp_path, name, {})
    for call in ("ArtifactCommit", "ArtifactReboot", "ArtifactFailure", "Download", "Later"):
        done = module.call(call)
        assert (done.status, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("name", NAMES)
def test_it_wants_no_reboot_and_no_sizes(name: str, tmp_path: Path) -> None:
    module = ShippedModule(tmp_path, name, {})
    assert module.answer("NeedsArtifactReboot") == "No\n"
    assert module.answer("ProvidePayloadFileSizes") == "No\n"


@pytest.mark.parametrize("name", NAMES)
def test_cleanup_of_an_update_that_never_began_succeeds(name: str, tmp_path: Path) -> None:
    ShippedModule(tmp_path, name, {}).succeed("ArtifactRollback", "Cleanup", "Cleanup")


@pytest.mark.parametrize("name", NAMES)
def test_without_its_arguments_it_says_which(name: str) -> None:
    done = subprocess.run([DIRECTORY / name], capture_output=True, timeout=60, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: {name} CALL TREE")


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.name)
def test_it_needs_nothing_but_the_standard_library(path: Path) -> None:
    """A device's own python3 runs it, without the agent's environment."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 9))):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= sys.stdlib_module_names
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert str(node.module).split(".")[0] in {*sys.stdlib_module_names, "__future__"}


@pytest.mark.ci
def test_the_wheel_keeps_them_executable(tmp_path: Path) -> None:
    hatchling = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(hatchling, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in NAMES:
            member = archive.getinfo(f"device_agent/modules/shipped/{name}")
            assert member.external_attr >> 16 & 0o111 == 0o111
        packed = set(archive.namelist())
    assert {str(path.relative_to(ROOT)) for path in CODE} <= packed
    assert all(os.access(DIRECTORY / name, os.X_OK) for name in NAMES)
