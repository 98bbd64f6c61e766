"""Answers and documents that Mender reads in another way (docs/mender-compatibility.md)."""

import json

import pytest

from device_agent.fetch.content_range import Head, Unusable, Use, judge
from device_agent.modules.documents import document


@pytest.mark.parametrize("said", ["bytes 400-999", "bytes 400-999/"])
def test_a_part_without_a_total_is_not_used_and_the_whole_is_asked_for(said: str) -> None:
    verdict = judge(Head(206, content_range=said, length=600), 400, 1000)
    assert verdict == Unusable("a part that does not say which", whole=True)


def test_a_part_whose_total_is_a_star_is_used() -> None:
    assert judge(Head(206, content_range="bytes 400-999/*", length=600), 400, 1000) == Use(0)


def test_keys_that_differ_in_case_and_large_numbers_stay() -> None:
    value = {"key": 1, "Key": 2, "large": 2**64 + 1}
    written = document(json.dumps(value).encode(), "meta-data")
    assert json.loads(written) == value
