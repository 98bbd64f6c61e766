"""Two cuts: at every pair of instants for A/B and for two components, at samples elsewhere."""

import secrets

import pytest

from tests.crash.every_cut import every_pair, some_pairs
from tests.crash.harness import Mode
from tests.crash.scenarios import SCENARIOS

EVERY = (
    "good",
    "unhealthy",
    "does-not-boot",
    "two-modules",
    "second-module-commit-fails",
    "rootfs-and-module",
    "rootfs-and-module-unhealthy",
)
MOST = 6  # cuts sampled of a run, and again of what follows each


@pytest.mark.ci
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", EVERY)
def test_two_cuts_at_every_pair_of_instants_leave_the_device_whole_and_honest(
    name: str, mode: Mode
) -> None:
    assert every_pair(SCENARIOS[name], mode).images > 500, "hardly any pair was found"


@pytest.mark.ci
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - set(EVERY)))
def test_two_cuts_at_some_pairs_of_instants_leave_the_device_whole_and_honest(
    name: str, mode: Mode
) -> None:
    seed = secrets.token_hex(4)
    print(f"pairs of {name} by the seed {seed}")  # shown when it fails
    assert some_pairs(SCENARIOS[name], mode, seed=seed, most=MOST).runs > 5
