"""Debian's Update Modules, unmodified: both agents leave the same files, modes and packages."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from device_agent.modules import shipped
from tests.differential.known import differences
from tests.support.differential import MODULES as DEBIAN
from tests.support.differential import Device, Step, both, target
from tests.support.differential_artifacts import (
    COMPRESSIONS,
    WRITERS,
    Recipe,
    Writer,
    by_mender_artifact,
    deb,
    directory,
    scripts,
    single_file,
)

pytestmark = pytest.mark.ci

OURS = Path(shipped.__file__).parent
Commands = Sequence[Sequence[str | Path]]
Make = Callable[[Path, Path], Recipe]

MODULES: dict[str, Make] = {
    "single-file": lambda place, target: single_file(place, target, b"two\n"),
    "directory": lambda place, target: directory(place, target, {"a": b"2", "d/e/f": b"3"}),
    "deb": lambda place, target: deb(place, target, "2.0"),
    "script": scripts,
}
RESULTS = {
    "single-file": ("app/hello.txt", b"two\n"),
    "directory": ("app/d/e/f", b"3"),
    "deb": ("app/version", b"2.0"),
    "script": ("steps", b"step 0\nstep 1\nstep 2\n"),
}
BEFORE = {"app/hello.txt": b"one\n", "app/a": b"1", "other": b"stays"}


def devices(place: Path, modules: Path) -> tuple[Device, Device]:
    theirs, ours = both(place, modules=modules)
    for device in (theirs, ours):
        device.add_image_scripts()
        for name, content in BEFORE.items():
            device.put(name, content)
    return theirs, ours


def made(place: Path, make: Make, write: Writer = by_mender_artifact, packed: str = "none") -> Path:
    recipe = make(place / "source", target(place))
    output = place / f"{recipe.name}.mender"
    write(recipe, packed, output)
    return output


def outcome(place: Path, commands: Commands, modules: Path = DEBIAN) -> Sequence[Step]:
    """Run `commands` on both devices, expect the same of both, and return it."""
    theirs, ours = devices(place, modules)
    expected = theirs.steps(commands)
    assert not differences(expected, ours.steps(commands))
    return expected


@pytest.mark.parametrize("packed", COMPRESSIONS)
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("module", MODULES)
def test_an_artifact_leaves_the_same_device(
    tmp_path: Path, module: str, writer: str, packed: str
) -> None:
    artifact = made(tmp_path, MODULES[module], WRITERS[writer], packed)
    _, committed = outcome(tmp_path, [("install", artifact), ("commit",)])
    assert committed.provides["artifact_name"].startswith("app-2")
    name, content = RESULTS[module]
    assert committed.target[name][1] == content


@pytest.mark.parametrize("module", ["single-file", "directory"])
def test_a_rollback_brings_the_same_files_back(tmp_path: Path, module: str) -> None:
    artifact = made(tmp_path, MODULES[module])
    installed, undone = outcome(tmp_path, [("install", artifact), ("rollback",)])
    assert (
        installed.target["app/a" if module == "directory" else "app/hello.txt"]
        != (undone.target["app/a" if module == "directory" else "app/hello.txt"])
    )
    assert {name: undone.target[name][1] for name in BEFORE} == BEFORE


def test_a_file_gets_the_mode_that_the_artifact_names(tmp_path: Path) -> None:
    artifact = made(tmp_path, lambda place, to: single_file(place, to, b"secret", mode="600"))
    (installed,) = outcome(tmp_path, [("install", artifact)])
    assert installed.target["app/hello.txt"] == ("100600", b"secret")


def test_a_package_is_upgraded(tmp_path: Path) -> None:
    first, second = (tmp_path / f"{version}.mender" for version in ("1.0", "2.0"))
    for version, path in (("1.0", first), ("2.0", second)):
        by_mender_artifact(deb(tmp_path / version, target(tmp_path), version), "gzip", path)
    _, upgraded = outcome(tmp_path, [("install", first), ("install", second)])
    assert "Version: 2.0" in upgraded.packages
    assert upgraded.target["app/version"][1] == b"2.0"


def test_a_package_that_cannot_be_installed_fails_without_a_way_back(tmp_path: Path) -> None:
    def broken(place: Path, to: Path) -> Recipe:
        recipe = deb(place, to, "2.0")
        recipe.files[0].write_bytes(b"no package")
        return recipe

    (failed,) = outcome(tmp_path, [("install", made(tmp_path, broken))])
    assert failed.status == 1
    assert failed.provides["artifact_name"] == "app-2.0_INCONSISTENT"


def test_the_last_of_several_scripts_fails(tmp_path: Path) -> None:
    artifact = made(tmp_path, lambda place, to: scripts(place, to, exits=3))
    (failed,) = outcome(tmp_path, [("install", artifact)])
    assert failed.target["steps"][1] == b"step 0\nstep 1\nstep 2\n"
    assert failed.provides["artifact_name"] == "app-2_INCONSISTENT"
    assert failed.status == 1


def test_a_directory_that_must_not_be_replaced_is_refused(tmp_path: Path) -> None:
    def root(place: Path, to: Path) -> Recipe:
        recipe = directory(place, to, {})
        recipe.files[0].write_text("/")
        return recipe

    (failed,) = outcome(tmp_path, [("install", made(tmp_path, root))])
    assert failed.status == 1
    assert {name: failed.target[name][1] for name in BEFORE} == BEFORE


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("module", MODULES)
def test_our_own_modules_leave_the_same_device_under_both(
    tmp_path: Path, module: str, end: str
) -> None:
    artifact = made(tmp_path, MODULES[module])
    installed, _ = outcome(tmp_path, [("install", artifact), (end,)], OURS)
    name, content = RESULTS[module]
    assert installed.target[name][1] == content
