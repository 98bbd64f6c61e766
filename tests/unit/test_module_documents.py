"""The JSON in a module's `header/` has the bytes that Mender's C++ client writes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.errors import UpdateRejected
from device_agent.modules.documents import document
from schemas.refusal import Code


def test_a_document_is_indented_by_two_and_sorted_without_regard_to_case() -> None:
    raw = '{"b":[1,{"z":null}],"C":{},"a":1.50,"D":[],"ü":"\\u00e4\\n\\u001f\\"/"}'.encode()
    assert document(raw, "meta-data").decode() == (
        "{\n"
        '  "a": 1.5,\n'
        '  "b": [\n'
        "    1,\n"
        "    {\n"
        '      "z": null\n'
        "    }\n"
        "  ],\n"
        '  "C": {},\n'
        '  "D": [],\n'
        '  "ü": "ä\\n\\u001f\\"/"\n'
        "}"
    )


@pytest.mark.parametrize("raw", [b"", b"  \n"])
def test_a_document_that_is_not_there_is_null(raw: bytes) -> None:
    assert document(raw, "meta-data") == b"null"


def test_an_empty_document_is_not_null() -> None:
    assert document(b"{}", "meta-data") == b"{}"


def test_half_a_character_is_refused() -> None:
    with pytest.raises(UpdateRejected, match="meta-data holds half a character") as caught:
        document(b'{"a":"\\ud83d"}', "meta-data")
    assert caught.value.code is Code.FORMAT


def test_nesting_that_would_fill_the_memory_is_refused() -> None:
    deep = b'{"a":' * 300 + b"[" + b"1," * 100_000 + b"1]" + b"}" * 300
    with pytest.raises(UpdateRejected) as caught:
        document(deep, "meta-data")
    assert caught.value.code is Code.LIMIT


@pytest.mark.parametrize("depth", [900, 100_000])
def test_nesting_beyond_all_measure_is_refused(depth: int) -> None:
    with pytest.raises(UpdateRejected) as caught:
        document(b'{"a":' * depth + b"1" + b"}" * depth, "meta-data")
    assert caught.value.code in (Code.LIMIT, Code.FORMAT)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # A half of a surrogate pair is refused, see above.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), values))
def test_what_a_document_says_stays_the_same(value: dict[str, object]) -> None:
    assert json.loads(document(json.dumps(value).encode(), "meta-data")) == value
