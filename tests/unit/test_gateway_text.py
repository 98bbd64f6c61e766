"""Text from devices is bounded and cannot break a line, a terminal or the database."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.text import MAX_FACTS, facts_of, printable


@given(st.text(alphabet=st.characters(codec=None), max_size=300), st.integers(1, 200))
def test_it_is_bounded_printable_and_encodable(text: str, limit: int) -> None:
    result = printable(text, limit)
    assert len(result) <= limit
    assert result.isprintable()
    result.encode()


@given(st.text(alphabet=st.characters(categories=["L", "N", "P"]), max_size=100))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert printable(text, 100) == text


def test_escapes_show_what_was_there() -> None:
    assert printable("a\r\n\x1b[31m\u202e\ud800", 100) == "a\\x0d\\x0a\\x1b[31m\\u202e\\ud800"


def test_facts_are_bounded_in_number() -> None:
    assert len(facts_of({f"fact-{n:03}": "x" for n in range(1000)})) == MAX_FACTS
