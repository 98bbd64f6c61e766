"""The steps of an update by hand, as a table."""

from itertools import combinations

import pytest

from device_agent.core.component import Contents
from device_agent.core.standalone import (
    CAN_COMMIT,
    CAN_ROLL_BACK,
    GOES_ON_UNSAVED,
    POINTS,
    RESUME,
    STOPS,
    TRANSITIONS,
    Ending,
    Event,
    Fact,
    Point,
    StandaloneRecord,
    Step,
    ending,
    left,
    saved,
    sentences,
    stops,
    to_enter,
)
from schemas.wire.decode import decode, encode

RECORD = StandaloneRecord(Contents("new", modules=("single-file", "script")))
UNDOING = (Step.MAY_ROLL_BACK, Step.ROLLBACK, Step.FAILURE, Step.CLEANUP)


def test_every_way_ends() -> None:
    def longest(step: Step, seen: tuple[Step, ...]) -> int:
        assert step not in seen, f"{step} comes again after {seen}"
        if step is Step.EXIT:
            return 0
        return 1 + max(longest(next_, (*seen, step)) for next_ in TRANSITIONS[step].values())

    assert longest(Step.DOWNLOAD, ()) < 20


def test_nothing_irreversible_begins_before_it_is_journaled() -> None:
    for step in (Step.INSTALL, Step.COMMIT, Step.AFTER_COMMIT):
        before, within = POINTS[step]
        assert before.startswith("before-")
        assert within.startswith("in-")
        assert Event.UNSAVED in TRANSITIONS[step]


def test_the_way_back_goes_on_without_a_journal() -> None:
    journaled = {step for step in UNDOING if POINTS[step]}
    assert journaled == GOES_ON_UNSAVED


def test_every_point_can_be_resumed_and_leads_forward_or_back() -> None:
    assert set(RESUME) == set(Point)
    for point, start in RESUME.items():
        begun = point in (Point.IN_INSTALL, Point.IN_COMMIT)
        assert begun == (start.step is Step.MAY_ROLL_BACK), "they must not be done twice"
        assert begun or point in POINTS[start.step]


def test_only_what_is_not_over_can_be_decided() -> None:
    assert set(CAN_COMMIT) <= set(CAN_ROLL_BACK)
    over = {Point.IN_COMMIT_LEAVE, Point.IN_FAILURE, Point.IN_CLEANUP}
    assert set(CAN_ROLL_BACK) == set(Point) - over


@pytest.mark.parametrize("step", STOPS.values())
def test_a_stop_comes_before_the_step_and_never_inside_it(step: Step) -> None:
    first, *inside = POINTS[step]
    assert stops(step, first, STOPS.values())
    assert not any(stops(step, point, STOPS.values()) for point in inside)
    assert not stops(step, first, [])


def test_a_step_that_was_begun_is_not_announced_again() -> None:
    assert to_enter(Step.AFTER_COMMIT, Point.IN_COMMIT_LEAVE) == (Point.IN_COMMIT_LEAVE,)
    assert to_enter(Step.INSTALL, Point.BEFORE_INSTALL) == POINTS[Step.INSTALL]
    assert to_enter(Step.INSTALL, None) == POINTS[Step.INSTALL]


def test_the_record_can_be_read_again() -> None:
    contents = Contents("new", "group", ("single-file",), {"a.b": "c"}, ("a.*",))
    record = StandaloneRecord(contents, Point.IN_ROLLBACK, 1, True, False, True)
    assert decode(StandaloneRecord, encode(record)) == record


def test_a_rolled_back_device_is_whole_again() -> None:
    failed = saved(RECORD, Point.IN_ROLLBACK, frozenset({Fact.FAILED}))
    assert failed.doubtful
    whole = saved(left(failed), Point.IN_FAILURE, frozenset({Fact.ROLLED_BACK}))
    assert (whole.doubtful, whole.failed, whole.rolled_back) == (False, False, True)


def test_a_command_that_leaves_takes_its_failure_along_but_not_the_doubt() -> None:
    kept = left(saved(RECORD, Point.IN_FAILURE, frozenset({Fact.FAILED})))
    assert (kept.failed, kept.doubtful) == (False, True)


def test_a_rollback_that_went_wrong_after_all_leaves_doubt() -> None:
    facts = frozenset({Fact.FAILED, Fact.ROLLED_BACK, Fact.ROLLBACK_FAILED})
    assert saved(RECORD, Point.IN_CLEANUP, facts).doubtful


def test_payloads_are_undone_from_the_last_begun() -> None:
    one, two = (StandaloneRecord(RECORD.contents, begun=begun) for begun in (1, 2))
    assert [component.name for component in one.undo] == ["0000"]
    assert [component.name for component in two.undo] == ["0000_0001", "0000"]
    assert [component.name for component in RECORD.undo] == ["0000"], "as Mender, of the only one"


def test_a_failure_is_never_exit_code_0() -> None:
    others = set(Fact) - {Fact.NONE_IN_PROGRESS}
    for pair in combinations(others, 2):
        failed = bool(set(pair) & {Fact.FAILED, Fact.SCRIPT_FAILED})
        assert (ending(frozenset(pair)) is Ending.FAILED) == failed


def test_a_commit_whose_last_scripts_failed_is_told_as_done() -> None:
    facts = {Fact.INSTALLED, Fact.COMMITTED, Fact.COMMIT_FAILED, Fact.FAILED}
    told = sentences(frozenset(facts | {Fact.AFTER_COMMIT_FAILED, Fact.CLEANED}))
    assert told == ("Installed and committed.", "One or more post-commit steps failed.")
