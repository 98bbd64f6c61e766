"""Durations, percentages, times, labels and URLs are read exactly, and nothing else is."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schemas.kinds import values
from schemas.selector import parse_selector


def read(kind: Any, value: object) -> Any:
    return TypeAdapter(kind).validate_python(value, strict=True)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0s", timedelta(0)),
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("24h", timedelta(hours=24)),
        ("14d", timedelta(days=14)),
        ("3650d", timedelta(days=3650)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration: timedelta) -> None:
    assert read(values.Duration, text) == duration


@pytest.mark.parametrize(
    "wrong",
    ["", "15", 15, "-5m", "1.5h", "015m", "15 m", "15M", "1h30m", "3651d", "999999999d", None],
)
def test_what_is_no_duration_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        read(values.Duration, wrong)


def test_a_timeout_of_zero_is_refused() -> None:
    with pytest.raises(ValidationError, match="zero"):
        read(values.PositiveDuration, "0s")


@pytest.mark.parametrize(
    ("written", "percent"),
    [
        (0, Fraction(0)),
        (5, Fraction(5)),
        (100, Fraction(100)),
        ("99.5", Fraction(199, 2)),
        ("0.1", Fraction(1, 10)),
        ("100.0", Fraction(100)),
        ("5", Fraction(5)),
    ],
)
def test_a_percentage_is_exact(written: object, percent: Fraction) -> None:
    assert read(values.Percent, written) == percent


@pytest.mark.parametrize(
    "wrong", [-1, 101, "100.1", "5%", "1e2", ".5", "1/3", 99.5, True, None, ""]
)
def test_what_is_no_percentage_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        read(values.Percent, wrong)


def test_a_stage_of_zero_percent_is_refused() -> None:
    with pytest.raises(ValidationError, match="nobody"):
        read(values.PositivePercent, 0)


def test_a_time_is_utc() -> None:
    assert read(values.Time, "2026-12-01T00:00:00Z") == datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize("wrong", ["2026-12-01", "2026-12-01T00:00:00+02:00", "tomorrow", 5, None])
def test_what_is_no_time_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError) as caught:
        read(values.Time, wrong)
    assert "quote it" in caught.value.errors()[0]["ctx"]["remedy"]


@given(st.from_regex(values.LABEL, fullmatch=True), st.from_regex(values.LABEL, fullmatch=True))
def test_every_label_that_can_be_written_can_be_selected(key: str, value: str) -> None:
    key, value = key.strip("\n"), value.strip("\n")
    assert parse_selector(f"{key}={value}").matches({key: value})


@pytest.mark.parametrize("key", ["facts.board", "", "-a", "a b", "a=b"])
def test_a_label_that_no_selector_could_name_or_that_claims_to_be_a_fact_is_refused(
    key: str,
) -> None:
    with pytest.raises(ValidationError):
        read(values.Labels, {key: "x"})


def test_facts_choose_an_artifact_but_never_a_fleet() -> None:
    assert read(values.Compatible, "facts.board=rpi4") == "facts.board=rpi4"
    with pytest.raises(ValidationError, match=r"facts\.board"):
        read(values.SelectorText, "product=kiosk,facts.board=rpi4")


@pytest.mark.parametrize("value", [True, 0, -5, "", "text", "x" * 512])
def test_a_variable_is_text_an_integer_or_a_truth_and_stays_what_it_is(value: object) -> None:
    result = read(values.Var, value)
    assert (type(result), result) == (type(value), value)


@pytest.mark.parametrize("value", [1.5, None, (), {}, "x" * 513])
def test_other_variables_are_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        read(values.Var, value)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (">=1.3.0", True),
        (">= 1.3, <2", True),
        ("==1.0~rc1", True),
        ("1.3.0", False),
        ("", False),
        (">=1.3,", False),
        ("~>1", False),
    ],
)
def test_a_range_of_versions_is_comparisons(text: str, right: bool) -> None:
    if right:
        assert read(values.VersionRange, text) == text
        return
    with pytest.raises(ValidationError):
        read(values.VersionRange, text)


@given(st.text())
def test_an_excerpt_is_one_short_printable_line(text: str) -> None:
    assert values.excerpt(text).isprintable()
