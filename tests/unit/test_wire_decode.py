"""The strict decoder refuses everything that two readers could read differently."""

import pytest

from schemas.canonical import canonical
from schemas.refusal import Code, Refusal
from schemas.wire.decode import decode, encode, parse, utc, utc_text
from schemas.wire.manifest import MANIFEST_LIMIT, Manifest
from schemas.wire.report import Report
from tests.support.documents import EXAMPLES, MANIFEST

GOOD = encode(MANIFEST)
ISSUED = utc_text(MANIFEST.issued).encode()


def refusal(data: bytes, *, limit: int = MANIFEST_LIMIT) -> Refusal:
    with pytest.raises(Refusal) as caught:
        decode(Manifest, data, limit=limit)
    assert caught.value.what
    return caught.value


def changed(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new)


def with_field(text: bytes) -> bytes:
    return GOOD[:-1] + b"," + text + b"}"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(with_field(b'"attempt":2'), Code.DUP, id="a key that stands twice"),
        pytest.param(changed(b'"poll":60', b'"poll":NaN'), Code.FORMAT, id="NaN"),
        pytest.param(changed(b'"poll":60', b'"poll":-Infinity'), Code.FORMAT, id="infinity"),
        pytest.param(changed(b'"poll":60', b'"poll":1e400'), Code.FORMAT, id="1e400"),
        pytest.param(changed(b'"poll":60', b'"poll":60.0'), Code.FORMAT, id="a float"),
        pytest.param(changed(b'"poll":60', b'"poll":"60"'), Code.FORMAT, id="a string"),
        pytest.param(changed(b'"poll":60', b'"poll":true'), Code.FORMAT, id="true as a number"),
        pytest.param(changed(b'"poll":60', b'"poll":-1'), Code.FORMAT, id="a negative count"),
        pytest.param(
            changed(b'"poll":60', b'"poll":' + b"9" * 5000), Code.FORMAT, id="5,000 digits"
        ),
        pytest.param(changed(b'"poll":60', b'"poll":9007199254740992'), Code.FORMAT, id="2^53"),
        pytest.param(
            with_field(b'"x":' + b"[" * 10_000 + b"]" * 10_000), Code.DEPTH, id="10,000 deep"
        ),
        pytest.param(GOOD + b"{}", Code.FORMAT, id="trailing garbage"),
        pytest.param(GOOD[:-5], Code.FORMAT, id="cut short"),
        pytest.param(b"", Code.FORMAT, id="empty"),
        pytest.param(b"[]", Code.FORMAT, id="a list"),
        pytest.param(b"<html>sign in</html>", Code.FORMAT, id="a captive portal"),
        pytest.param(changed(b"kiosks-prod-eu", b"kiosks\xff"), Code.ENCODING, id="not UTF-8"),
        pytest.param(
            changed(b"kiosks-prod-eu", b"\\ud800"), Code.ENCODING, id="half of a surrogate pair"
        ),
        pytest.param(changed(ISSUED, b"2026-1-4T7:0:0Z"), Code.FORMAT, id="a time without zeros"),
        pytest.param(
            changed(ISSUED, "\N{FULLWIDTH DIGIT TWO}026-11-24T07:00:00Z".encode()),
            Code.FORMAT,
            id="other digits",
        ),
        pytest.param(changed(b'"schema":1', b'"schema":2'), Code.SCHEMA, id="a newer schema"),
        pytest.param(
            changed(b'"critical":[]', b'"critical":["quorum"]'),
            Code.SCHEMA,
            id="a critical field that is unknown",
        ),
        pytest.param(
            changed(b'"critical":[]', b'"critical":"poll"'), Code.FORMAT, id="critical is no list"
        ),
        pytest.param(
            changed(b"fleetcd/manifest", b"fleetcd/shard"), Code.FORMAT, id="another type"
        ),
        pytest.param(changed(b'"fleet":"kiosks-prod-eu",', b""), Code.FORMAT, id="a missing field"),
        pytest.param(
            changed(b'"fleet":"kiosks-prod-eu"', b'"fleet":"../etc"'),
            Code.FORMAT,
            id="a path as name",
        ),
        pytest.param(
            changed(b"2026-11-24T07:00:00Z", b"2026-11-24T07:00:00+01:00"),
            Code.FORMAT,
            id="an offset",
        ),
    ],
)
def test_a_document_is_refused_for(data: bytes, code: Code) -> None:
    assert refusal(data).code is code


def test_a_document_over_its_limit_is_refused_before_it_is_parsed() -> None:
    assert refusal(b"{" * 100, limit=99).code is Code.LENGTH


def test_a_refusal_names_the_place() -> None:
    data = changed(b'"stage":"canary"', b'"stage":7')
    assert refusal(data).where == "Manifest.next.admit[0].stage"


def test_unknown_fields_are_ignored_unless_they_are_critical() -> None:
    assert decode(Manifest, with_field(b'"added":{"later":1}')) == MANIFEST


def test_known_fields_may_be_listed_as_critical() -> None:
    data = changed(b'"critical":[]', b'"critical":["windows"]')
    assert decode(Manifest, data).critical == ("windows",)


def test_brackets_inside_strings_are_not_depth() -> None:
    data = with_field(b'"x":"' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"')
    assert decode(Manifest, data) == MANIFEST


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("replacement", [None, True, -1, "x", [], {}, [[]], {"x": {}}])
def test_every_field_of_every_document_is_checked(name: str, replacement: object) -> None:
    kind = type(EXAMPLES[name])
    document = parse(encode(EXAMPLES[name]))
    for key in document:
        try:
            again = decode(kind, canonical(document | {key: replacement}))
        except Refusal:
            continue
        assert decode(kind, encode(again)) == again, key


def test_integers_are_not_booleans() -> None:
    data = encode(EXAMPLES["report"]).replace(b'"clockTrusted":true', b'"clockTrusted":1')
    with pytest.raises(Refusal):
        decode(Report, data)


@pytest.mark.parametrize("value", [1.5, float("nan"), 2**53, {1: 2}, b"bytes", object(), "\ud800"])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(Refusal):
        canonical(value)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


def test_bytes_that_open_strings_again_and_again_are_refused_in_no_time() -> None:
    """A megabyte took minutes when every quotation mark was tried as a beginning."""
    with pytest.raises(Refusal):
        parse(b'"' + b'\\"' * 500_000)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_every_time_that_is_read_is_written_the_same(text: str) -> None:
    assert utc_text(utc(text)) == text
