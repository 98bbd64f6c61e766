"""The lock on a disk without room for the number of the process that holds it."""

import multiprocessing
import resource
from pathlib import Path

import pytest

from device_agent.lock import Busy, locked


def _hold_without_room(path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with locked(path), pytest.raises(Busy), locked(path):
        pass


def test_a_lock_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(
        target=_hold_without_room, args=(tmp_path / "agent.lock",)
    )
    child.start()
    child.join(60)
    assert child.exitcode == 0
