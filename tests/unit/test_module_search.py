"""A module is an executable file of a module directory, and nothing else."""

from pathlib import Path

import pytest

from device_agent.errors import UpdateRejected
from device_agent.modules.search import find_module
from schemas.artifact.names import expect_payload_type
from schemas.refusal import Code


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def refused(name: str, *directories: Path) -> str:
    with pytest.raises(UpdateRejected) as caught:
        find_module(name, directories)
    assert caught.value.code is Code.MODULE
    return caught.value.message


def test_our_own_directory_comes_before_menders(tmp_path: Path) -> None:
    ours, mender = tmp_path / "ours", tmp_path / "mender"
    only = program(mender / "docker")
    program(mender / "deb")
    first = program(ours / "deb")
    assert find_module("deb", [ours, mender]) == first
    assert find_module("docker", [ours, mender]) == only


@pytest.mark.parametrize("name", ["rootfs-image", "a.b_c", "c++", "9", "X" * 100])
def test_every_payload_type_of_an_artifact_can_be_a_module(tmp_path: Path, name: str) -> None:
    expect_payload_type(name)
    assert find_module(name, [tmp_path / "none", program(tmp_path / name).parent]).name == name


def test_a_missing_module_is_refused_with_the_places_that_were_searched(tmp_path: Path) -> None:
    assert str(tmp_path) in refused("deb", tmp_path)


@pytest.mark.parametrize("name", ["../evil", "a/b", "/bin/sh", "..", ".", "", "a\0b", "-rf", "a\n"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    program(tmp_path / "evil")
    (tmp_path / "modules").mkdir()
    assert "not a module's name" in refused(name, tmp_path / "modules")


def test_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "evil").symlink_to(program(tmp_path / "outside"))
    assert "leads out" in refused("evil", modules)


def test_a_link_to_a_neighbour_is_followed(tmp_path: Path) -> None:
    program(tmp_path / "deb")
    (tmp_path / "apt").symlink_to("deb")
    assert find_module("apt", [tmp_path]) == tmp_path / "apt"


def test_a_directory_or_a_plain_file_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("x")
    assert "not an executable file" in refused("folder", tmp_path)
    (tmp_path / "text").chmod(0o644)
    assert "not an executable file" in refused("text", tmp_path)


def test_a_link_to_itself_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert "not an executable file" in refused("loop", tmp_path)
