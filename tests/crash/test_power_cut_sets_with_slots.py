"""The same of a root filesystem with modules beside it: one set, one commit point."""

import pytest

from tests.crash.every_cut import every_cut
from tests.crash.harness import Mode
from tests.crash.scenarios import SETS_WITH_SLOTS


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", SETS_WITH_SLOTS)
def test_a_set_with_a_root_filesystem_cut_anywhere_ends_whole_and_honest(
    name: str, mode: Mode
) -> None:
    assert every_cut(SETS_WITH_SLOTS[name], mode).instants > 40, "hardly any instant was found"
