"""U-Boot's environment through the real tools: what is stored, in which copy, and what goes wrong.

What every bootloader adapter promises is in tests/contract/test_bootloader_contract.py.
"""

import os
from pathlib import Path

import pytest

from device_agent.boot.uboot import UBootVariables
from device_agent.errors import InstallFailed
from tests.support.boot_uboot import PLACES, SIZE, exported, imported

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def config(directory: Path, name: str, *places: int) -> Path:
    path = directory / name
    lines = [f"{directory}/disk {place:#x} {SIZE:#x}\n" for place in places]
    path.write_text("# where U-Boot keeps it\n\n" + "".join(lines))
    return path


def disk_with(directory: Path, *copies: bytes) -> UBootVariables:
    """Return an adapter for independent copies, which are put on the disk as U-Boot would."""
    content = b"".join(copy.ljust(PLACES[1], b"\0") for copy in copies)
    (directory / "disk").write_bytes(content)
    configs = [config(directory, f"{n}.config", PLACES[n]) for n in range(len(copies))]
    return UBootVariables(configs, ENVIRONMENT)


def stored(directory: Path, copy: int) -> dict[str, str] | None:
    return imported((directory / "disk").read_bytes()[PLACES[copy] :])


def test_what_u_boot_stored_is_read_and_what_is_written_u_boot_reads(tmp_path: Path) -> None:
    variables = disk_with(tmp_path, exported({"bootcmd": "run a=b; run c", "x": "1"}))
    assert variables.read() == {"bootcmd": "run a=b; run c", "x": "1"}
    variables.write({"x": "", "y": "two words"})
    assert stored(tmp_path, 0) == {"bootcmd": "run a=b; run c", "y": "two words"}


def test_the_copy_with_the_higher_sequence_counts(tmp_path: Path) -> None:
    old, new = exported({"fleetcd_seq": "9", "x": "old"}), exported({"fleetcd_seq": "a"})
    assert disk_with(tmp_path, old, new).read() == {"fleetcd_seq": "a"}
    assert disk_with(tmp_path, new, old).read() == {"fleetcd_seq": "a"}


def test_each_write_raises_the_sequence_in_every_copy(tmp_path: Path) -> None:
    variables = disk_with(tmp_path, *[exported({"fleetcd_seq": "f", "x": "1"})] * 2)
    variables.write({"x": "2"})
    assert stored(tmp_path, 0) == stored(tmp_path, 1) == {"fleetcd_seq": "10", "x": "2"}


def test_a_sequence_that_is_no_number_is_older_than_any(tmp_path: Path) -> None:
    broken, good = exported({"fleetcd_seq": "new"}), exported({"fleetcd_seq": "1"})
    assert disk_with(tmp_path, broken, good).read() == {"fleetcd_seq": "1"}


@pytest.mark.parametrize("missed", [0, 1])
def test_a_copy_that_was_missed_gets_everything_not_only_the_changes(
    tmp_path: Path, missed: int
) -> None:
    copies = [exported({"fleetcd_seq": "2", "x": "new"})] * 2
    copies[missed] = exported({"fleetcd_seq": "1", "x": "old", "gone": "1"})
    disk_with(tmp_path, *copies).write({"y": "1"})
    for copy in (0, 1):
        assert stored(tmp_path, copy) == {"fleetcd_seq": "3", "x": "new", "y": "1"}


@pytest.mark.parametrize("copies", [1, 2])
def test_writing_what_is_there_already_writes_nothing(tmp_path: Path, copies: int) -> None:
    variables = disk_with(tmp_path, *[exported({"fleetcd_seq": "1", "x": "1"})] * copies)
    before = (tmp_path / "disk").stat().st_mtime_ns
    variables.write({"x": "1", "never": ""})
    assert (tmp_path / "disk").stat().st_mtime_ns == before


def test_a_single_environment_gets_no_variable_of_ours_that_nobody_asked_for(
    tmp_path: Path,
) -> None:
    variables = disk_with(tmp_path, exported({"x": "1"}))
    variables.write({"x": "2"})
    assert variables.read() == {"x": "2"}


def test_a_corrupt_single_environment_is_not_replaced_by_a_few_variables(tmp_path: Path) -> None:
    variables = disk_with(tmp_path, b"\xff" * SIZE)
    with pytest.raises(InstallFailed, match="restart the device"):
        variables.write({"x": "1"})
    assert (tmp_path / "disk").read_bytes()[:SIZE] == b"\xff" * SIZE


def test_missing_tools_are_named_with_the_package_to_install(tmp_path: Path) -> None:
    disk_with(tmp_path, exported({"x": "1"}))
    variables = UBootVariables([tmp_path / "0.config"], {"PATH": str(tmp_path)})
    with pytest.raises(InstallFailed, match="libubootenv-tool"):
        variables.read()


def test_tools_that_cannot_be_run_are_named(tmp_path: Path) -> None:
    disk_with(tmp_path, exported({"x": "1"}))
    (tmp_path / "fw_printenv").write_text("not a program")
    (tmp_path / "fw_printenv").chmod(0o755)
    variables = UBootVariables([tmp_path / "0.config"], {"PATH": str(tmp_path)})
    with pytest.raises(InstallFailed, match="fw_printenv cannot be started"):
        variables.read()


@pytest.mark.parametrize("content", [None, "", "hello\n", "/nowhere/env 0x0 0x1000\n"])
def test_a_configuration_that_names_no_environment_is_named(
    tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "fw_env.config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InstallFailed, match=str(path)):
        UBootVariables([path], ENVIRONMENT).read()


def test_a_value_that_the_tool_would_cut_off_is_refused(tmp_path: Path) -> None:
    variables = disk_with(tmp_path, exported({"x": "1"}))
    variables.write({"y": "1" * 1021})
    assert stored(tmp_path, 0) == {"x": "1", "y": "1" * 1021}
    with pytest.raises(InstallFailed, match="variable y"):
        variables.write({"y": "1" * 1022})
    assert stored(tmp_path, 0) == {"x": "1", "y": "1" * 1021}


def test_an_environment_that_is_full_is_a_failed_install(tmp_path: Path) -> None:
    full = {f"x{number}": "1" * 1000 for number in range(4)}
    variables = disk_with(tmp_path, exported(full))
    with pytest.raises(InstallFailed, match=r"0\.config exited with"):
        variables.write({"y": "1" * 100})
    assert variables.read() == full


def test_an_environment_larger_than_any_is_not_taken_in_part(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "fw_printenv").write_text("#!/bin/sh\nyes x=1 | head -c 2000000\n")
    (tools / "fw_printenv").chmod(0o755)
    disk_with(tmp_path, exported({"x": "1"}))
    variables = UBootVariables([tmp_path / "0.config"], {"PATH": f"{tools}:{os.environ['PATH']}"})
    with pytest.raises(InstallFailed, match="more than"):
        variables.read()


def test_a_store_that_did_not_happen_is_noticed(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "fw_setenv").write_text("#!/bin/sh\nexit 0\n")
    (tools / "fw_setenv").chmod(0o755)
    disk_with(tmp_path, exported({"x": "1"}))
    variables = UBootVariables([tmp_path / "0.config"], {"PATH": f"{tools}:{os.environ['PATH']}"})
    with pytest.raises(InstallFailed, match="does not hold what was written"):
        variables.write({"x": "2"})
