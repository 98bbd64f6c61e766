"""The harness is worth something only if it catches a broken agent. Each bug here must be caught.

A bug is planted in a table or in a function's source; the scenario named with it must then break an
invariant. Bugs that a second barrier makes harmless are listed with that barrier, and must be
caught where it is broken, too.
"""

import pytest

from device_agent.errors import AgentError
from tests.crash.every_cut import every_cut
from tests.crash.harness import Mode
from tests.crash.planted_core import DRIVER, JOURNAL, TABLES, UNDO
from tests.crash.planted_shell import DISK, GUARDED, WORK
from tests.crash.scenarios import SCENARIOS

BUGS = TABLES | DRIVER | JOURNAL | UNDO | WORK | DISK


def caught(scenario: str, mode: Mode) -> str | None:
    """Return how a single cut, or none, shows a broken invariant in the scenario."""
    try:
        every_cut(SCENARIOS[scenario], mode)
    except (AssertionError, AgentError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("bug", BUGS)
def test_the_harness_catches(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, scenario, mode = BUGS[bug]
    plant(monkeypatch)
    assert caught(scenario, mode), "this bug would go unnoticed"


@pytest.mark.parametrize("bug", GUARDED)
def test_a_second_barrier_makes_harmless_that(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = GUARDED[bug]
    guarded.bug(monkeypatch)
    assert caught(guarded.scenario, guarded.mode) is None, f"not by {guarded.guard}"


@pytest.mark.parametrize("bug", GUARDED)
def test_without_the_second_barrier_the_harness_catches_that(
    bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = GUARDED[bug]
    guarded.bug(monkeypatch)
    guarded.without(monkeypatch)
    assert caught(guarded.scenario, guarded.mode), f"{guarded.guard}, even when it is broken"
