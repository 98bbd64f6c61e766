"""What the tests of this directory do with a scenario: cut it everywhere, and check every end."""

import random
from collections.abc import Sequence

from tests.crash.disk import Image
from tests.crash.harness import Exploration, Mode, explore, new_device, scratch
from tests.crash.invariants import assert_whole_and_honest, check
from tests.crash.scenarios import Scenario

EVERY_PAIR = (
    "good",
    "unhealthy",
    "does-not-boot",
    "two-modules",
    "rootfs-and-module",
    "rootfs-and-module-unhealthy",
)  # the scenarios of which every pair of cuts is tried


def every_cut(scenario: Scenario, mode: Mode) -> Exploration:
    """Cut once, at every instant."""
    exploration = Exploration(mode)
    with scratch() as root:
        world = new_device(root / "device", scenario)
        for run in explore(world, exploration, crashes=1):
            check(run, mode)
    return exploration


def every_pair(scenario: Scenario, mode: Mode) -> Exploration:
    """Cut at every instant, and again at every instant of what follows."""
    return _pairs(scenario, Exploration(mode))


def some_pairs(scenario: Scenario, mode: Mode, *, seed: str, most: int) -> Exploration:
    """Cut at `most` instants by chance, and again at `most` of what follows each."""
    chance = random.Random(seed)

    def pick(images: Sequence[Image]) -> Sequence[Image]:
        return chance.sample(images, min(most, len(images)))

    return _pairs(scenario, Exploration(mode, pick))


def _pairs(scenario: Scenario, exploration: Exploration) -> Exploration:
    with scratch() as root:
        world = new_device(root / "device", scenario)
        for run in explore(world, exploration, crashes=2):
            assert_whole_and_honest(run)
    return exploration
