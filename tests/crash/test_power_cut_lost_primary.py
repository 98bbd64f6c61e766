"""Another slot runs than the primary: wherever the device is cut off, it restarts once to see why,
stands on a slot that starts, says so once if that is another one, and is updated."""

from dataclasses import replace

import pytest

from tests.crash.harness import Mode
from tests.crash.lost_primary import (
    LeavingWorld,
    LosingWorld,
    UpdatingWorld,
    adopted_and_updated,
    back_on_the_primary,
    every_cut,
    whole_after_a_loss,
)
from tests.crash.scenarios import AB, Fault

NOTHING_WANTED = replace(AB, fault=Fault.SUPERSEDED)


@pytest.mark.parametrize("mode", Mode)
def test_a_device_that_lost_its_primary_and_is_cut_off_anywhere_is_updated_in_the_end(
    mode: Mode,
) -> None:
    explored = every_cut(LosingWorld, AB, mode, adopted_and_updated, crashes=1)
    assert explored.instants > 40, "hardly any instant was found"


@pytest.mark.parametrize("mode", Mode)
def test_a_device_that_lost_its_primary_and_is_cut_off_twice_stands_on_the_slot_that_runs(
    mode: Mode,
) -> None:
    explored = every_cut(LosingWorld, NOTHING_WANTED, mode, adopted_and_updated, crashes=2)
    assert explored.runs > 10, "hardly any pair was found"


@pytest.mark.parametrize("mode", Mode)
def test_a_device_that_has_a_trial_to_leave_and_is_cut_off_twice_goes_back_to_its_primary(
    mode: Mode,
) -> None:
    explored = every_cut(LeavingWorld, NOTHING_WANTED, mode, back_on_the_primary, crashes=2)
    assert explored.runs > 4, "hardly any pair was found"


def test_a_device_that_loses_its_primary_at_any_instant_of_an_update_comes_to_rest() -> None:
    explored = every_cut(UpdatingWorld, AB, Mode.POWER_CUT, whole_after_a_loss, crashes=1)
    assert explored.runs > 10, "hardly any instant was found"
