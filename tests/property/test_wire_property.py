"""What must hold for every document, not only for the ones we thought of."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from schemas.canonical import canonical
from schemas.order import LAST, order
from schemas.refusal import Refusal
from schemas.selector import Operator, Requirement, Selector, parse_selector
from schemas.wire.decode import decode, encode, parse
from schemas.wire.manifest import Manifest
from tests.support.documents import MANIFEST

GOOD = encode(MANIFEST)
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
words = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,10}[A-Za-z0-9])?", fullmatch=True).filter(
    lambda word: word not in ("in", "notin")
)
requirements = st.one_of(
    st.builds(Requirement, words, st.just(Operator.EXISTS)),
    st.builds(Requirement, words, st.just(Operator.ABSENT)),
    st.builds(
        Requirement,
        words,
        st.sampled_from([Operator.IN, Operator.NOT_IN]),
        st.lists(words, min_size=1, max_size=3).map(tuple),
    ),
)
selectors = st.builds(Selector, st.lists(requirements, max_size=4).map(tuple))


@given(values)
def test_canonical_json_is_read_back(value: object) -> None:
    assert parse(canonical(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_give_a_document_or_a_refusal(data: bytes) -> None:
    with contextlib.suppress(Refusal):
        decode(Manifest, data)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_one_changed_byte_gives_a_document_or_a_refusal(at: int, byte: int) -> None:
    with contextlib.suppress(Refusal):
        again = decode(Manifest, GOOD[:at] + bytes([byte]) + GOOD[at + 1 :])
        assert decode(Manifest, encode(again)) == again


@given(selectors, st.dictionaries(words, words, max_size=4))
def test_a_selector_means_the_same_after_it_was_written_and_read(
    selector: Selector, labels: dict[str, str]
) -> None:
    again = parse_selector(str(selector))
    assert again.matches(labels) == selector.matches(labels)
    assert again == selector


@given(st.text(max_size=40))
def test_any_text_gives_a_selector_or_a_refusal(text: str) -> None:
    with contextlib.suppress(Refusal):
        parse_selector(text)


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_last_cut_off_admits_everybody(rollout: str, device: str) -> None:
    assert order(rollout, device) <= LAST
