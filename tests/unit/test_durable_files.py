"""What device_agent.durable promises to everybody who keeps state on the device."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_agent import durable


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Make every write beyond `size` bytes fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_written_file_holds_the_bytes_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "record"
    durable.write(path, b"one")
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_keeps_the_old_bytes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "record"
    durable.write(path, b"old")
    with files_no_longer_than(2), pytest.raises(OSError, match="large"):
        durable.write(path, b"newer")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["record"]


def test_a_leftover_of_a_power_cut_is_replaced_with_the_right_mode(tmp_path: Path) -> None:
    leftover = tmp_path / ".record.new"
    leftover.write_bytes(b"half a rec")
    leftover.chmod(0o644)
    durable.write(tmp_path / "record", b"whole")
    assert (tmp_path / "record").read_bytes() == b"whole"
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o600
    assert not leftover.exists()


def test_a_symlink_planted_at_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / ".record.new").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        durable.write(tmp_path / "record", b"theirs")
    assert victim.read_bytes() == b"mine"


def test_removing_twice_has_no_further_effect(tmp_path: Path) -> None:
    path = tmp_path / "record"
    durable.write(path, b"x")
    durable.remove(path)
    durable.remove(path)
    assert not path.exists()


def test_a_directory_is_made_with_its_parents_and_again_without_effect(tmp_path: Path) -> None:
    durable.make_directory(tmp_path / "a" / "b")
    durable.make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
