"""Whatever the instant at which one module's update is cut off, it ends whole and honest."""

import pytest

from tests.crash.every_cut import every_cut
from tests.crash.harness import Mode
from tests.crash.scenarios import MODULES


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", MODULES)
def test_an_update_by_a_module_cut_anywhere_ends_whole_and_honest(name: str, mode: Mode) -> None:
    assert every_cut(MODULES[name], mode).instants > 40, "hardly any instant was found"
