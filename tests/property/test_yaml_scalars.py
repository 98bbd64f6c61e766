"""An unquoted scalar is accepted as text only if YAML 1.1 and YAML 1.2 both take it for text."""

import re

import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.yaml_scalars import Ambiguous, plain_scalar

TEXT = "tag:yaml.org,2002:str"
YAML_1_1 = yaml.resolver.Resolver()

# The core schema of YAML 1.2.2, section 10.3.2.
YAML_1_2 = re.compile(
    r"null|Null|NULL|~|true|True|TRUE|false|False|FALSE|[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
    r"|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"
)

number_like = st.text("0123456789_.:-+eExXoObBtTzZ abcdefinaNIF", min_size=1, max_size=14)
words = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "~", "=", "<<"]
word_like = st.sampled_from(words).flatmap(
    lambda word: st.sampled_from([word, word.upper(), word.title(), word + "1", "-" + word])
)


@given(st.one_of(number_like, word_like, st.text(min_size=1, max_size=12)))
def test_text_is_text_for_every_reader(scalar: str) -> None:
    # A parser never gives a plain scalar that begins like an anchor, an alias or a tag.
    if scalar[0] not in "&*!" and isinstance(plain_scalar(scalar), str):
        tag = YAML_1_1.resolve(yaml.ScalarNode, scalar, (True, False))  # type: ignore[no-untyped-call]  # the stubs leave it out
        assert tag == TEXT
        assert not YAML_1_2.fullmatch(scalar)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_an_integer_in_its_usual_spelling_is_that_integer(number: int) -> None:
    assert plain_scalar(str(number)) == number


@given(st.one_of(st.integers(min_value=2**53), st.integers(max_value=-(2**53))))
def test_an_integer_that_not_every_reader_can_hold_is_refused(number: int) -> None:
    assert isinstance(plain_scalar(str(number)), Ambiguous)


@given(st.from_regex(r"[a-z][a-z0-9]{0,8}-[0-9]{1,4}", fullmatch=True))
def test_names_need_no_quotes(name: str) -> None:
    assert plain_scalar(name) == name


def test_versions_and_durations_of_several_parts_need_no_quotes() -> None:
    for text in ("1.4.2", "24h", "90s", "kiosk-os@1.10", "product=kiosk,!retired", "sha256:00ff"):
        assert plain_scalar(text) == text
