"""GRUB's variables in two copies: durable, whole after every cut, and never invented."""

from pathlib import Path

import pytest

from device_agent.boot.grub import GrubVariables, begun_anew, overwrite
from device_agent.boot.grub_block import SIZE, Copy, parse, seal
from device_agent.errors import InstallFailed
from schemas.wire.report import FailureClass
from tests.support.grub_device import NAMES, boot, settled

BEFORE = {"fleetcd_primary": "a", "fleetcd_trial": "none", "fleetcd_left": "0"}
TRIAL = {"fleetcd_trial": "b", "fleetcd_left": "2"}


class PowerCut(Exception):
    """Nothing after this happens."""


class Cut:
    """Overwrites until the power fails: within write number `last`, after `reached` bytes."""

    def __init__(self, last: int, reached: int) -> None:
        self._left, self._reached = last, reached

    def __call__(self, path: Path, block: bytes) -> None:
        if self._left:
            self._left -= 1
            return overwrite(path, block)
        path.write_bytes(block[: self._reached] + path.read_bytes()[self._reached :])
        raise PowerCut


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    first, second = (tmp_path / name for name in NAMES)
    first.write_bytes(settled())
    second.write_bytes(settled())
    return first, second


def refused(variables: GrubVariables) -> InstallFailed:
    with pytest.raises(InstallFailed) as caught:
        variables.write(TRIAL)
    assert caught.value.failure is FailureClass.REBOOT
    return caught.value


def test_changes_are_stored_beside_the_other_variables(copies: tuple[Path, Path]) -> None:
    GrubVariables(copies).write(TRIAL | {"saved_entry": "x"})
    assert GrubVariables(copies).read() == BEFORE | TRIAL | {"saved_entry": "x"}


def test_an_empty_value_removes_a_variable(copies: tuple[Path, Path]) -> None:
    GrubVariables(copies).write({"saved_entry": "x"})
    GrubVariables(copies).write({"saved_entry": "", "never_there": ""})
    assert GrubVariables(copies).read() == BEFORE


def test_both_copies_hold_a_change(copies: tuple[Path, Path]) -> None:
    GrubVariables(copies).write(TRIAL)
    assert copies[0].read_bytes() == copies[1].read_bytes() == seal(Copy(2, BEFORE | TRIAL))


def test_writing_again_writes_nothing(copies: tuple[Path, Path]) -> None:
    GrubVariables(copies).write(TRIAL)
    GrubVariables(copies, Cut(0, 0)).write(TRIAL)


def test_a_copy_is_overwritten_where_it_lies(copies: tuple[Path, Path]) -> None:
    """GRUB saves into the file's own blocks; a rename would need a journal to be whole."""
    before = [path.stat().st_ino for path in copies]
    GrubVariables(copies).write(TRIAL)
    assert [path.stat().st_ino for path in copies] == before


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("sequences", [(1, 1), (1, 2), (2, 1)])
def test_a_cut_leaves_all_of_a_change_or_nothing_of_it(
    copies: tuple[Path, Path], sequences: tuple[int, int], last: int
) -> None:
    newer = max(sequences)
    for reached in (*range(0, 192, 5), 512, SIZE):
        for path, sequence in zip(copies, sequences, strict=True):
            path.write_bytes(settled("a" if sequence == newer else "b", sequence=sequence))
        with pytest.raises(PowerCut):
            GrubVariables(copies, Cut(last, reached)).write(TRIAL)
        after = GrubVariables(copies).read()
        assert after in (BEFORE, BEFORE | TRIAL)
        assert boot(copies) == ("a" if after == BEFORE else "b"), "GRUB takes the same copy"


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("how", [bytes(SIZE), b"", settled()[:40], settled() + b"\0" * SIZE, None])
def test_a_lost_copy_costs_nothing_and_is_written_anew(
    copies: tuple[Path, Path], lost: int, how: bytes | None
) -> None:
    copies[lost].unlink()
    if how is not None:
        copies[lost].write_bytes(how)
    assert GrubVariables(copies).read() == BEFORE
    GrubVariables(copies).write(TRIAL)
    assert copies[0].read_bytes() == copies[1].read_bytes()


def test_a_lost_copy_is_written_anew_even_if_nothing_changes(copies: tuple[Path, Path]) -> None:
    copies[1].write_bytes(bytes(SIZE))
    GrubVariables(copies).write({})
    assert copies[0].read_bytes() == copies[1].read_bytes()


def test_a_count_that_reached_only_the_first_copy_is_the_one_that_counts(
    copies: tuple[Path, Path],
) -> None:
    copies[0].write_bytes(settled(trial="b", left=1))
    copies[1].write_bytes(settled(trial="b", left=2))
    assert GrubVariables(copies).read()["fleetcd_left"] == "1"


@pytest.mark.parametrize("how", [bytes(SIZE), b"", settled()[:60] + bytes(SIZE - 60)])
def test_with_both_copies_lost_nothing_is_invented_until_grub_has_begun_anew(
    copies: tuple[Path, Path], how: bytes
) -> None:
    for path in copies:
        path.write_bytes(how)
    why = refused(GrubVariables(copies))
    assert "no copy is intact; mount the boot partition" in why.message
    with pytest.raises(InstallFailed, match="restart the device"):
        GrubVariables(copies).read()
    assert boot(copies) == "a"
    assert GrubVariables(copies).read() == BEFORE


@pytest.mark.parametrize("slot", ["a", "b"])
def test_what_grub_began_anew_with_and_could_not_save_is_saved(
    copies: tuple[Path, Path], slot: str
) -> None:
    for path in copies:
        path.write_bytes(bytes(SIZE))
    variables = GrubVariables(copies, begun=lambda: slot)
    assert variables.read() == BEFORE | {"fleetcd_primary": slot}
    assert [path.read_bytes() for path in copies] == [settled(slot)] * 2
    assert boot(copies) == slot


@pytest.mark.parametrize("last", [0, 1])
def test_a_cut_while_that_is_saved_costs_nothing(copies: tuple[Path, Path], last: int) -> None:
    for reached in (*range(0, 192, 5), 512, SIZE):
        for path in copies:
            path.write_bytes(bytes(SIZE))
        with pytest.raises(PowerCut):
            GrubVariables(copies, Cut(last, reached), lambda: "a").read()
        assert boot(copies) == "a"
        assert GrubVariables(copies, begun=lambda: "a").read() == BEFORE


def test_what_grub_began_anew_with_counts_no_more_once_a_copy_is_intact(
    copies: tuple[Path, Path],
) -> None:
    assert GrubVariables(copies, begun=lambda: "b").read() == BEFORE


@pytest.mark.parametrize(
    ("words", "slot"),
    [
        ("root=/dev/sda4 fleetcd.slot=b fleetcd.anew=b quiet", "b"),
        ("fleetcd.anew=a", "a"),
        ("root=/dev/sda3 fleetcd.slot=a quiet", None),
        ("fleetcd.anew=ab xfleetcd.anew=a", None),
    ],
)
def test_the_kernel_was_told_what_grub_began_anew_with(
    tmp_path: Path, words: str, slot: str | None
) -> None:
    command_line = tmp_path / "cmdline"
    command_line.write_text(f"{words}\n")
    assert begun_anew(command_line) == slot


def test_without_a_command_line_nothing_was_begun_anew(tmp_path: Path) -> None:
    assert begun_anew(tmp_path / "cmdline") is None


def test_damaged_copies_are_emptied_once(copies: tuple[Path, Path]) -> None:
    """The daemon looks at each poll; flash wears out."""
    for path in copies:
        path.write_bytes(bytes(SIZE))
    refused(GrubVariables(copies))
    refused(GrubVariables(copies, Cut(0, 0)))


def test_a_copy_that_somebody_writes_at_this_moment_is_not_emptied(
    copies: tuple[Path, Path],
) -> None:
    for path in copies:
        path.write_bytes(bytes(SIZE))

    def beside_a_writer(path: Path, block: bytes) -> None:
        overwrite(path, block)
        if path == copies[0]:
            copies[1].write_bytes(settled())

    refused(GrubVariables(copies, beside_a_writer))
    assert GrubVariables(copies).read() == BEFORE


def test_a_copy_that_cannot_be_read_is_not_emptied(copies: tuple[Path, Path]) -> None:
    copies[0].write_bytes(bytes(SIZE))
    copies[1].rename(copies[1].with_suffix(".good"))
    copies[1].symlink_to(copies[1])  # ELOOP
    refused(GrubVariables(copies))
    assert copies[1].is_symlink()
    copies[1].unlink()
    copies[1].with_suffix(".good").rename(copies[1])
    assert GrubVariables(copies).read() == BEFORE


def test_a_boot_partition_that_is_not_mounted_is_not_written_to(tmp_path: Path) -> None:
    copies = (tmp_path / NAMES[0], tmp_path / NAMES[1])
    refused(GrubVariables(copies))
    refused(GrubVariables(copies, begun=lambda: "a"))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_nothing_is_told_and_changes_nothing(copies: tuple[Path, Path]) -> None:
    def full(_path: Path, _block: bytes) -> None:
        raise OSError(30, "Read-only file system")

    why = refused(GrubVariables(copies, full))
    assert why.message.endswith("cannot be saved: Read-only file system")
    assert GrubVariables(copies).read() == BEFORE
    for path in copies:
        path.write_bytes(bytes(SIZE))
    assert "no copy is intact" in refused(GrubVariables(copies, full, lambda: "a")).message


def test_more_than_a_block_holds_is_told_and_changes_nothing(copies: tuple[Path, Path]) -> None:
    with pytest.raises(InstallFailed, match="of 1024 bytes; remove some"):
        GrubVariables(copies).write({"long": "x" * SIZE})
    assert GrubVariables(copies).read() == BEFORE


def test_the_variables_that_guard_a_copy_are_none_of_the_readers(
    copies: tuple[Path, Path],
) -> None:
    assert {"fleetcd_seq", "fleetcd_check"} <= (parse(copies[0].read_bytes()) or {}).keys()
    assert GrubVariables(copies).read() == BEFORE
