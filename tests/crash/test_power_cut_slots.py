"""Whatever the instant at which an A/B update is cut off, the device ends whole and honest."""

import pytest

from tests.crash.every_cut import every_cut
from tests.crash.harness import Mode
from tests.crash.scenarios import SLOTS


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", SLOTS)
def test_an_update_of_the_root_filesystem_cut_anywhere_ends_whole_and_honest(
    name: str, mode: Mode
) -> None:
    assert every_cut(SLOTS[name], mode).instants > 20, "hardly any instant was found"
