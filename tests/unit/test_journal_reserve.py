"""Room that is kept back for the journal; tests/e2e/test_hostile_partition.py fills a real disk."""

from pathlib import Path

from device_agent import reserve
from tests.support.driver_device import a_module_device


def test_the_reserve_takes_real_room_and_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "reserve"
    for _ in range(2):
        reserve.make(path)
        assert path.stat().st_size == reserve.SIZE
        assert path.stat().st_blocks * 512 >= reserve.SIZE, "a hole keeps nothing back"


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
