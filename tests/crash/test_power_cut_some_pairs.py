"""Two cuts at pairs of instants by chance, wherever not every pair is tried."""

import secrets

import pytest

from tests.crash.every_cut import EVERY_PAIR, some_pairs
from tests.crash.harness import Mode
from tests.crash.scenarios import SCENARIOS

MOST = 8  # cuts sampled of a run, and again of what follows each


@pytest.mark.ci
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - set(EVERY_PAIR)))
def test_two_cuts_at_some_pairs_of_instants_leave_the_device_whole_and_honest(
    name: str, mode: Mode
) -> None:
    seed = secrets.token_hex(4)
    print(f"pairs of {name} by the seed {seed}")  # shown when it fails
    assert some_pairs(SCENARIOS[name], mode, seed=seed, most=MOST).runs > 5
