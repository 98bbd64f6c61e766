"""A device that goes round in circles: what is said of it in the end, and what stays true."""

from pathlib import Path

import pytest

from device_agent.core.record import MAX_ENTRIES
from device_agent.driver import Result
from schemas.wire.report import Outcome
from tests.support.agent_fakes import MODULE, FakeInstaller, a_record
from tests.support.driver_device import BROKEN, Device


class Killed(BaseException):
    """The agent's end in the middle of a call: nothing of it may be caught."""


def always_killed_in(call: str, root: Path, **errors: Exception) -> Device:
    killed: dict[str, BaseException] = {**errors, call: Killed()}
    device = Device(root, a_record(MODULE), FakeInstaller(errors=killed))  # type: ignore[arg-type]  # raised as any
    for _ in range(2 * MAX_ENTRIES):
        try:
            assert device.run() is Result.IDLE
            return device
        except Killed:
            pass
    raise AssertionError("it never ends")


def test_a_good_update_stays_one_however_often_its_cleanup_is_cut_short(tmp_path: Path) -> None:
    device = always_killed_in("cleanup", tmp_path)
    word = device.last_word
    assert (word.outcome, word.inconsistent) == (Outcome.OK, ())
    assert "the last was cleanup" in (word.message or "")
    assert device.journal.failed() == {}


def test_what_was_undone_stays_undone_however_often_its_cleanup_is_cut_short(
    tmp_path: Path,
) -> None:
    word = always_killed_in("cleanup", tmp_path, install=BROKEN).last_word
    assert (word.outcome, word.inconsistent) == (Outcome.FAILED, ())
    assert (word.message or "").startswith("it broke; gave up")


@pytest.mark.parametrize("call", ["rollback", "failure"])
def test_what_never_ends_on_the_way_back_is_known_to_nobody(tmp_path: Path, call: str) -> None:
    word = always_killed_in(call, tmp_path, install=BROKEN).last_word
    assert (word.outcome, word.inconsistent) == (Outcome.FAILED, ("app",))
