"""Whatever the instant at which several modules' update is cut off, all end whole and honest."""

import pytest

from tests.crash.every_cut import every_cut
from tests.crash.harness import Mode
from tests.crash.scenarios import SETS


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", SETS)
def test_an_update_of_several_modules_cut_anywhere_ends_whole_and_honest(
    name: str, mode: Mode
) -> None:
    assert every_cut(SETS[name], mode).instants > 10, "hardly any instant was found"
