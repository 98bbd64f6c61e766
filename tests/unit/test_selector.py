"""Selectors read as Kubernetes' do, and a mistake is shown where it is."""

import pytest

from schemas.refusal import Refusal
from schemas.selector import attributes, parse_selector

KIOSK = {"product": "kiosk", "stage": "qa", "site": "lyon-03"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("product=kiosk", True),
        ("product==kiosk", True),
        ("product=kiosk,stage=dev", False),
        ("stage in (dev, qa)", True),
        ("stage notin (dev,qa)", False),
        ("site", True),
        ("!site", False),
        ("!retired", True),
        ("retired!=yes", True),
        ("retired notin (yes)", True),
        ("retired=yes", False),
        ("in=kiosk", False),
        ("", True),
        ("  product = kiosk ,  !retired ", True),
    ],
)
def test_matching(text: str, matches: bool) -> None:
    assert parse_selector(text).matches(KIOSK) is matches


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("a=", 3, "ends where a value"),
        ("a in", 5, "ends where '('"),
        ("a in (", 7, "ends where a value"),
        ("a in ()", 7, "')' where a value"),
        ("=b", 1, "'=' where a label key"),
        ("a b", 3, "'b' where ','"),
        ("a,,b", 3, "',' where a label key"),
        ("a=b;c", 4, "unexpected ';'"),
        ("a=b,", 5, "ends where a label key"),
        ("a = ü", 5, "unexpected 'ü'"),
    ],
)
def test_a_mistake_is_shown_with_its_column(text: str, column: int, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_selector(text)
    assert f"column {column}: {says}" in caught.value.what
    assert "product=kiosk" in caught.value.remedy


def test_a_selector_has_a_limit() -> None:
    with pytest.raises(Refusal, match="longer than 1024"):
        parse_selector("a," * 1000)


def test_compatible_asks_for_facts_before_labels_and_by_prefix_for_facts_alone() -> None:
    found = attributes({"board": "label", "site": "paris"}, {"board": "fact"})
    assert parse_selector("board=fact,facts.board=fact,site=paris,!facts.site").matches(found)
