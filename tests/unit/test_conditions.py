"""What counts as news, and since when something holds."""

from datetime import timedelta

from reconciler.conditions import COMMIT, SOURCE, Conditions
from tests.support.gateway_world import Watch


def test_the_same_trouble_is_news_once() -> None:
    conditions = Conditions(Watch())
    assert conditions.ill(SOURCE, "Unavailable", "no route")
    assert not conditions.ill(SOURCE, "Unavailable", "no route")


def test_two_troubles_that_take_turns_are_news_once_each() -> None:
    conditions = Conditions(Watch())
    told = [conditions.ill(SOURCE, "Unavailable", f"trouble {n % 2}") for n in range(6)]
    assert told == [True, True, False, False, False, False]


def test_a_trouble_that_comes_back_after_recovery_is_news_again() -> None:
    conditions = Conditions(Watch())
    conditions.ill(SOURCE, "Unavailable", "no route")
    assert conditions.well(SOURCE, "Fetched")
    assert conditions.ill(SOURCE, "Unavailable", "no route")


def test_being_well_from_the_start_is_no_recovery() -> None:
    assert not Conditions(Watch()).well(SOURCE, "Fetched")


def test_what_is_remembered_of_one_illness_is_bounded() -> None:
    conditions = Conditions(Watch())
    for number in range(1000):
        conditions.ill(SOURCE, "Unavailable", f"trouble {number}")
    assert len(conditions._told[SOURCE]) <= 100


def test_since_stays_while_only_the_words_change() -> None:
    watch = Watch()
    conditions, began = Conditions(watch), watch.now
    conditions.ill(SOURCE, "Unavailable", "no route")
    watch.forward(timedelta(hours=1))
    conditions.ill(SOURCE, "Refused", "history was rewritten")
    found = conditions.get(SOURCE)
    assert found is not None
    assert (found.since, found.reason) == (began, "Refused")


def test_what_will_be_once_it_is_well_changes_nothing_yet() -> None:
    watch = Watch()
    conditions = Conditions(watch)
    conditions.ill(SOURCE, "Unavailable", "no route")
    conditions.well(COMMIT, "Valid", "commit a")
    watch.forward(timedelta(hours=1))
    foreseen = conditions.all_once_well(SOURCE, "Fetched", "")
    assert conditions.is_ill(SOURCE)
    conditions.well(SOURCE, "Fetched", "")
    assert conditions.all() == foreseen
    assert [condition.type for condition in foreseen] == [COMMIT, SOURCE]
