"""What is to be done at rest when another slot runs than the primary: the rule by itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.core.component import BootFacts
from device_agent.core.lost_primary import (
    MOST_REQUESTS,
    Asked,
    Move,
    asked,
    next_move,
    request,
)

HERE, BEFORE = "1" * 32, "2" * 32


def boots(running: str, primary: str, boot_id: str = HERE) -> BootFacts:
    return BootFacts(boot_id, running, primary, None)


OFF = boots("b", "a")


@pytest.mark.parametrize("before", [None, Asked(HERE, "a", 1), Asked(BEFORE, "b", 1)])
@pytest.mark.parametrize("boot", [boots("a", "a"), boots("b", "b"), boots("", "")])
def test_nothing_is_done_where_the_primary_runs(boot: BootFacts, before: Asked | None) -> None:
    assert next_move(boot, before) is Move.NONE


def test_a_restart_comes_first() -> None:
    assert next_move(OFF, None) is Move.RESTART


def test_the_same_slot_after_a_restart_proves_that_the_primary_does_not_start() -> None:
    assert next_move(OFF, Asked(BEFORE, "b", 1)) is Move.ADOPT


def test_what_was_seen_of_another_slot_proves_nothing() -> None:
    assert next_move(OFF, Asked(BEFORE, "a", 1)) is Move.RESTART


def test_a_restart_that_did_not_come_is_asked_for_again_but_not_for_ever() -> None:
    before, moves = None, []
    for _ in range(MOST_REQUESTS + 2):
        moves.append(next_move(OFF, before))
        before = request(OFF, before) if moves[-1] is Move.RESTART else before
    assert moves == [Move.RESTART] * MOST_REQUESTS + [Move.WAIT] * 2


@given(
    st.lists(st.sampled_from(["poll", "killed", "power cut"]), max_size=30),
)
def test_at_most_one_restart_is_made_whatever_goes_wrong_on_the_way(happened: list[str]) -> None:
    """`killed` between the note and the request, `power cut` before it could be heeded. The
    variables cannot be written, so nothing ever leads away from here."""
    before: Asked | None = None
    boot_id = restarts = 0
    for what in happened:
        boot = boots("b", "a", f"{boot_id:032x}")
        move = next_move(boot, before)
        if move is Move.RESTART:
            before = request(boot, before)
            if what == "poll":
                restarts, boot_id = restarts + 1, boot_id + 1
        if what == "power cut":
            boot_id += 1
    assert restarts <= 1


@given(
    st.text("0123456789abcdef", min_size=1, max_size=32), st.sampled_from("ab"), st.integers(0, 9)
)
def test_what_the_journal_keeps_is_read_again(boot_id: str, slot: str, requests: int) -> None:
    said = Asked(boot_id, slot, requests)
    assert asked(str(said)) == said


@pytest.mark.parametrize("text", [None, "", "1", "1 b", "1 b x", "1 b 10", "1 b 1 more"])
def test_what_nobody_here_wrote_says_nothing(text: str | None) -> None:
    assert asked(text) is None
