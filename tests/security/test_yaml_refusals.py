"""Hostile or careless YAML is refused at its place, with what to do. Numbers: the project's list of
negative tests (tests/security/cases.toml)."""

from dataclasses import dataclass

import pytest
import yaml

from reconciler.adapters import yaml_events
from schemas.refusal import Code
from tests.support.fleet_yaml import load

HEAD = "apiVersion: fleetcd/v1\nkind: Fleet\nmetadata: {name: kiosks}\nspec:\n"  # 4 lines
BODY = "  selector: product=kiosk\n  components: {os: demo-os@1}\n"


@dataclass(frozen=True, slots=True)
class Case:
    data: str | bytes
    code: Code
    place: tuple[int, int]
    field: str
    remedy: str


ALIAS_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
MERGE_BOMB = "a0: &a0 {x: y}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 20)
)

CASES = {
    "64-python-tag": Case(
        HEAD + BODY + "  vars: {a: !!python/object/apply:os.system [id]}\n",
        Code.TAG, (7, 13), "spec.vars.a", "delete it",
    ),
    "64-str-tag": Case(
        HEAD + "  selector: !!str product=kiosk\n", Code.TAG, (5, 13), "spec.selector", "delete it"
    ),
    "65-alias-bomb": Case(ALIAS_BOMB, Code.ANCHOR, (1, 4), "a", "write the value out"),
    "66-merge-bomb": Case(MERGE_BOMB, Code.ANCHOR, (1, 5), "a0", "write the value out"),
    "66-merge-key": Case(
        HEAD + BODY + "  vars:\n    <<: {a: b}\n",
        Code.ANCHOR, (8, 5), "spec.vars", "write the values out",
    ),
    "67-cycle": Case("a: &a [*a]\n", Code.ANCHOR, (1, 4), "a", "write the value out"),
    "68-duplicate-key": Case(
        HEAD + BODY + "  selector: product=till\n", Code.DUP, (7, 3), "spec", "keep one"
    ),
    "68-duplicate-key-quoted": Case(
        HEAD + BODY + "  vars: {a: b, \"a\": c}\n", Code.DUP, (7, 16), "spec.vars", "keep one"
    ),
    "69-200-lists": Case("[" * 200, Code.DEPTH, (1, 33), "[0]" * 32, "flatten it"),
    "69-20000-lists": Case("[" * 20_000, Code.DEPTH, (1, 33), "[0]" * 32, "flatten it"),
    "69-20000-dashes": Case("- " * 20_000, Code.DEPTH, (1, 65), "[0]" * 32, "flatten it"),
    "71-number": Case(
        HEAD + BODY + "  vars: {1: a}\n", Code.KEY, (7, 10), "spec.vars", 'quote it: "1"'
    ),
    "71-truth": Case(
        HEAD + BODY + "  vars: {true: a}\n", Code.KEY, (7, 10), "spec.vars", 'quote it: "true"'
    ),
    "71-norway": Case(
        HEAD + BODY + "  vars: {no: a}\n", Code.KEY, (7, 10), "spec.vars", 'quote it: "no"'
    ),
    "71-list": Case(
        HEAD + BODY + "  vars: {[a]: b}\n", Code.KEY, (7, 10), "spec.vars", "write a plain word"
    ),
    "71-mapping": Case("? {a: b}\n: c\n", Code.KEY, (1, 3), "", "write a plain word"),
    "71-empty": Case("? \n: a\n", Code.KEY, (1, 2), "", "write a plain word"),
    "72-yaml-directive": Case(
        "%YAML 1.1\n---\n" + HEAD + BODY, Code.MULTI, (1, 1), "", "delete the % lines"
    ),
    "72-tag-directive": Case(
        "%TAG ! tag:example.com,2000:\n---\n" + HEAD + BODY,
        Code.MULTI, (1, 1), "", "delete the % lines",
    ),
    "73-bidi": Case(HEAD + "  selector: a\u202eb\n", Code.CHAR, (5, 14), "", "delete it"),
    "73-zero-width": Case(HEAD + "  selector: a\u200bb\n", Code.CHAR, (5, 14), "", "delete it"),
    "73-nul": Case(HEAD + "  selector: a\0b\n", Code.CHAR, (5, 14), "", "delete it"),
    "73-nul-escaped": Case(
        HEAD + '  selector: "a\\0b"\n', Code.CHAR, (5, 13), "spec.selector", "delete its escape"
    ),
    "73-bidi-in-a-comment": Case("# \u2066x\n" + HEAD, Code.CHAR, (1, 3), "", "delete it"),
    "73-line-separator": Case("# a\u2028b: c\n" + HEAD, Code.CHAR, (1, 4), "", "delete it"),
    "73-lone-carriage-return": Case("# a\rb: c\n" + HEAD, Code.CHAR, (1, 4), "", "delete it"),
    "73-byte-order-mark": Case("\ufeff" + HEAD, Code.CHAR, (1, 1), "", "without a byte order mark"),
    "74-over-1-MiB": Case(
        b"#" * (1024 * 1024 + 1), Code.LIMIT, (0, 0), "", "split the file"
    ),
    "74-50001-nodes": Case(
        "a: [" + "x," * 50_001 + "]", Code.LIMIT, (1, 99_999), "a[49997]", "split the file"
    ),
    "74-long-scalar": Case(
        f"a: {'x' * (64 * 1024 + 1)}\n", Code.LIMIT, (1, 4), "a", "shorten it"
    ),
    "75-unknown-field": Case(
        HEAD + BODY + "  polcy: fast\n", Code.SCHEMA, (7, 3), "spec.polcy", "did you mean `policy`?"
    ),
    "75-wrong-type": Case(
        HEAD + "  selector: [a]\n  components: {os: demo-os@1}\n",
        Code.SCHEMA, (5, 13), "spec.selector", "",
    ),
    "76-invalid-utf-8": Case(b"a: b\nc: \xff\n", Code.ENCODING, (2, 4), "", "save it as UTF-8"),
    "76-overlong-utf-8": Case(b"a: \xc0\xaf\n", Code.ENCODING, (1, 4), "", "save it as UTF-8"),
    "76-utf-16": Case(
        (HEAD + BODY).encode("utf-16"), Code.ENCODING, (1, 1), "", "save it as UTF-8"
    ),
    "76-utf-16-no-mark": Case(
        (HEAD + BODY).encode("utf-16-le"), Code.ENCODING, (1, 1), "", "save it as UTF-8"
    ),
    "76-utf-32": Case(
        (HEAD + BODY).encode("utf-32-be"), Code.ENCODING, (1, 1), "", "save it as UTF-8"
    ),
}  # fmt: skip

AMBIGUOUS = {
    "70-float": "1.10",
    "70-octal": "0644",
    "70-octal-1.2": "0o644",
    "70-sexagesimal": "12:30:45",
    "70-time-of-day": "12:30",
    "70-norway": "NO",
    "70-yes": "yes",
    "70-on": "On",
    "70-True": "True",
    "70-date": "2026-12-01",
    "70-timestamp": "2026-12-01T00:00:00Z",
    "70-nan": ".nan",
    "70-infinity": "-.INF",
    "70-underscore": "1_000",
    "70-exponent": "12e34567",
    "70-hexadecimal": "0x1F",
    "70-plus": "+5",
    "70-minus-zero": "-0",
    "70-tilde": "~",
    "70-Null": "Null",
    "70-equals": "=",
    "77-5000-digits": "9" * 5000,
    "77-over-2^53": "9007199254740992",
}


def id_of(case: str) -> str:
    return f"case-{case}"


@pytest.mark.parametrize("name", CASES, ids=id_of)
def test_is_refused_at_its_place_with_what_to_do(name: str) -> None:
    case = CASES[name]
    loaded = load({"fleets/kiosks.yaml": case.data})
    found = [p for p in loaded.problems if p.code is case.code]
    assert found, loaded.problems
    first = found[0]
    assert first.file == "fleets/kiosks.yaml"
    assert (first.line, first.column) == case.place
    assert first.field == case.field
    assert case.remedy in first.remedy


@pytest.mark.parametrize("name", CASES, ids=id_of)
def test_is_refused_just_so_where_pyyaml_has_no_libyaml(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load({"a.yaml": CASES[name].data})
    monkeypatch.setattr(yaml_events, "_Parser", yaml.Loader)
    assert load({"a.yaml": CASES[name].data}) == expected


@pytest.mark.parametrize("name", AMBIGUOUS, ids=id_of)
def test_a_scalar_that_yaml_readers_disagree_on_must_be_quoted(name: str) -> None:
    text = AMBIGUOUS[name]
    (problem,) = load({"f.yaml": f"{HEAD}{BODY}  vars:\n    it: {text}\n"}).problems
    assert (problem.code, problem.line, problem.column) == (Code.AMBIGUOUS, 8, 9)
    assert problem.field == "spec.vars.it"
    assert f'quote it: "{text[:60]}' in problem.remedy
    assert not load({"f.yaml": f'{HEAD}{BODY}  vars:\n    it: "{text[:500]}"\n'}).problems


def test_case_72_several_documents_in_a_file_are_fine() -> None:
    loaded = load({"f.yaml": f"{HEAD}{BODY}---\n{HEAD.replace('kiosks', 'tills')}{BODY}"})
    assert len(loaded.documents) == 2
    assert not loaded.problems


def test_what_people_wrote_cannot_forge_a_line_of_output() -> None:
    text = HEAD + BODY + '  "a\\n::error::b": 1\n  policy: "x\\n::error::y"\n'
    problems = load({"f.yaml": text}).problems
    assert len(problems) == 2
    assert not [p for p in problems if not (p.message + p.field + p.remedy).isprintable()]


def test_a_bomb_costs_no_more_than_its_first_hundred_mistakes() -> None:
    assert len(load({"f.yaml": "- *a\n" * 100_000}).problems) == 100
