"""Which answers may be appended to a download: device_agent.fetch.content_range, as a table."""

import pytest

from device_agent.fetch.content_range import Head, Unusable, Use, judge
from schemas.refusal import Code, Refusal

SIZE = 1000


def part(text: str, length: int | None = None) -> Head:
    return Head(206, content_range=text, length=length)


@pytest.mark.parametrize(
    ("head", "offset", "skip"),
    [
        (Head(200, length=SIZE), 0, 0),
        (Head(200), 0, 0),
        (Head(200, length=SIZE), 400, 400),
        (Head(200, content_encoding="identity"), 1, 1),
        (part("bytes 400-999/1000", 600), 400, 0),
        (part("bytes 400-999/*"), 400, 0),
        (part("bytes 400-499/1000", 100), 400, 0),
        (part("bytes 256-999/1000"), 400, 144),
        (part("bytes 0-999/1000"), 0, 0),
        (part("bytes 999-999/1000", 1), 999, 0),
    ],
)
def test_what_may_be_taken(head: Head, offset: int, skip: int) -> None:
    assert judge(head, offset, SIZE) == Use(skip)


@pytest.mark.parametrize(
    ("head", "offset", "whole"),
    [
        (part("bytes 401-999/1000"), 400, True),
        (part("bytes 0-399/1000"), 400, True),
        (part("bytes 400-1000/*"), 400, True),
        (part("bytes 400-999/1000", 599), 400, True),
        (part("bytes 999-400/1000"), 400, True),
        (part("items 400-999/1000"), 400, True),
        (part(""), 400, True),
        (Head(206), 400, True),
        (Head(206, content_type="multipart/byteranges"), 400, True),
        (Head(416), 400, True),
        (Head(503), 400, False),
        (Head(204), 0, False),
        (Head(200, content_type="text/html; charset=utf-8", length=12), 0, False),
    ],
)
def test_what_is_not_usable_and_whether_to_ask_for_the_whole(
    head: Head, offset: int, whole: bool
) -> None:
    verdict = judge(head, offset, SIZE)
    assert isinstance(verdict, Unusable)
    assert verdict.whole is whole
    assert verdict.why


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (Head(200, length=SIZE + 1), Code.LENGTH),
        (Head(200, length=SIZE - 1), Code.LENGTH),
        (part("bytes 400-999/1001"), Code.LENGTH),
        (Head(200, content_encoding="gzip"), Code.ENCODING),
    ],
)
def test_what_can_never_be_the_artifact_is_refused(head: Head, code: Code) -> None:
    with pytest.raises(Refusal) as caught:
        judge(head, 400, SIZE)
    assert caught.value.code is code
