"""Room that is kept back for the journal; tests/e2e/test_hostile_partition.py fills a real disk."""

import os
import resource
import zlib
from pathlib import Path

import pytest

from device_agent import reserve
from tests.support.driver_device import a_module_device


def test_the_reserve_takes_real_room_and_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    made = set()
    for _ in range(2):
        reserve.make(path)
        made.add(path.read_bytes())
        assert path.stat().st_size == reserve.SIZE
        assert path.stat().st_blocks * 512 >= reserve.SIZE, "a hole keeps nothing back"
    assert len(made) == 1


def test_the_reserve_takes_its_room_where_files_are_compressed(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    reserve.make(path)
    assert len(zlib.compress(path.read_bytes())) >= reserve.SIZE


@pytest.mark.parametrize("size", [0, 1, reserve.SIZE])
def test_a_reserve_that_was_cut_short_or_is_a_hole_is_made_anew(tmp_path: Path, size: int) -> None:
    path = tmp_path / "reserve"
    path.touch()
    os.truncate(path, size)
    reserve.make(path)
    assert path.stat().st_size == reserve.SIZE
    assert path.stat().st_blocks * 512 >= reserve.SIZE


def test_half_a_reserve_does_not_take_the_last_of_the_room(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (reserve.SIZE // 2, hard))
    try:
        reserve.make(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not path.exists()


def test_the_reserve_is_not_spent_while_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    reserve.make(path)
    assert not reserve.spend(path)
    assert path.exists()


def test_without_a_reserve_there_is_nothing_to_spend(tmp_path: Path) -> None:
    assert not reserve.spend(tmp_path / "nowhere" / "reserve")


def test_a_reserve_that_cannot_be_made_costs_nothing(tmp_path: Path) -> None:
    reserve.make(tmp_path / "nowhere" / "reserve")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    reserve.make(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_a_deployment_begins_with_a_reserve(tmp_path: Path) -> None:
    a_module_device(tmp_path)
    assert (tmp_path / "journal.db.reserve").stat().st_size == reserve.SIZE
