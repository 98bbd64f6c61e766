"""Two cuts at every pair of instants, for A/B and for two components."""

import pytest

from tests.crash.every_cut import EVERY_PAIR, every_pair
from tests.crash.harness import Mode
from tests.crash.scenarios import SCENARIOS


@pytest.mark.ci
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", EVERY_PAIR)
def test_two_cuts_at_every_pair_of_instants_leave_the_device_whole_and_honest(
    name: str, mode: Mode
) -> None:
    assert every_pair(SCENARIOS[name], mode).images > 200, "hardly any pair was found"
