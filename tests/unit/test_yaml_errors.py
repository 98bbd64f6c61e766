"""Every mistake in a field is shown at the field, in words, with what to do."""

import pytest

from reconciler.domain.problems import Problem
from tests.support import fleet_yaml as write

STAGE = "{name: a, count: 1}"


def only(text: str) -> Problem:
    (problem,) = write.load({"a.yaml": text}).problems
    return problem


@pytest.mark.parametrize(
    ("text", "field", "message", "remedy"),
    [
        (
            write.document("Fleet", "a", "{selector: a}"),
            "spec.components",
            "is missing",
            "add `components`",
        ),
        (
            write.policy("a", STAGE, "gate: {sucess: 98}"),
            "spec.gate.sucess",
            "unknown field",
            "did you mean `success`?",
        ),
        (
            write.policy("a", "{name: a, percnt: 5, count: 1}"),
            "spec.stages[0].percnt",
            "unknown field",
            "did you mean `percent`?",
        ),
        (
            write.document("Fleet", "a", "{selector: a, components: {os: a@1}}", "zzzzz: 1"),
            "metadata.zzzzz",
            "unknown field",
            "choose from: labels, name",
        ),
        (write.release(more="epoch: -1"), "spec.epoch", "must be 0 or more", ""),
        (write.release(more="epoch: 3000000000"), "spec.epoch", "must be 2147483647 or less", ""),
        (write.release(more="epoch: [1]"), "spec.epoch", "an integer expected, not a list", ""),
        (write.release(more="health: 5"), "spec.health", "a mapping expected, not `5`", ""),
        (
            write.release(more="health: {checks: network}"),
            "spec.health.checks",
            "a list expected, not `network`",
            "",
        ),
        (
            write.policy("a", STAGE, "onFailure: rolback"),
            "spec.onFailure",
            "`rolback` is not `pause` or `rollback`",
            "did you mean `rollback`?",
        ),
        (
            write.document("Fleet", "Kiosks", "{selector: a, components: {os: a@1}}"),
            "metadata.name",
            "`Kiosks` is not a name: a-z, 0-9",
            "",
        ),
        (
            write.document("Fleet", "5", "{selector: a, components: {os: a@1}}"),
            "metadata.name",
            "`5` is not text",
            'quote it: "5"',
        ),
        (
            write.document("Fleet", "a", "{selector: a, components: {}}"),
            "spec.components",
            "must have 1 or more entries",
            "",
        ),
        (write.policy("a", ""), "spec.stages", "must have 1 or more entries", ""),
        (
            write.document("Fleet", "a", "{selector: a, components: {OS: a@1}}"),
            "spec.components.OS",
            "`OS` is not a name",
            "",
        ),
        (
            write.fleet(selector="product=kiosk,,"),
            "spec.selector",
            "column 15",
            "product=kiosk,stage in (dev,qa),!retired",
        ),
        (write.fleet(more="suspend: {reason: ''}"), "spec.suspend.reason", "one line", ""),
        (write.fleet(more="vars: {a: [1]}"), "spec.vars.a", "a list cannot be a variable", "write"),
        (write.fleet(more="vars: {a: null}"), "spec.vars.a", "null cannot be a variable", "write"),
    ],
)
def test_a_wrong_field_is_named_and_explained(
    text: str, field: str, message: str, remedy: str
) -> None:
    problem = only(text)
    assert problem.field == field
    assert message in problem.message
    assert remedy in problem.remedy


def test_an_unknown_field_is_shown_at_its_key_and_a_wrong_value_at_the_value() -> None:
    loaded = write.load(
        {"a.yaml": write.fleet(more="polcy: x") + "---\n" + write.release(more="epoch: x")}
    )
    lines = write.fleet(more="polcy: x").splitlines()
    unknown, wrong = loaded.problems
    assert (unknown.line, unknown.column) == (4, lines[3].index("polcy") + 1)
    assert wrong.line == 9
    assert wrong.column == write.release(more="epoch: x").splitlines()[3].index("epoch") + 8


def test_a_missing_field_is_shown_where_its_mapping_begins() -> None:
    problem = only(write.document("Fleet", "a", "{selector: a}"))
    assert (problem.line, problem.column) == (4, 7)


def test_the_second_of_two_equal_stages_is_the_one_that_is_shown() -> None:
    problem = only(write.policy("a", "{name: a, count: 1}, {name: a, percent: 100}"))
    assert problem.field == "spec.stages[1].name"
    assert "`a` stands twice" in problem.message


FLEET_LATER = ["config: [a]", "windows: [a]", "after: [{fleet: a}]", "extends: a", "abstract: true"]
POLICY_LATER = ["budget: {maxUnavailable: 1}", "gate: {metrics: []}"]


@pytest.mark.parametrize(
    "text",
    [
        *(write.fleet(more=more) for more in FLEET_LATER),
        write.fleet(more='suspend: {reason: a, until: "2027-01-01T00:00:00Z"}'),
        write.document("Fleet", "a", "{selector: a, components: {os: a@1}}", "labels: {a: b}"),
        *(write.policy("a", STAGE, more) for more in POLICY_LATER),
        write.policy("a", "{name: a, count: 1, approval: 1}"),
        write.document("Project", "a", "{inventory: server}"),
        write.document("Project", "a", "{trust: {}}"),
    ],
)
def test_a_field_that_would_do_nothing_yet_is_refused(text: str) -> None:
    problem = only(text)
    assert problem.message == "not supported by this version of fleetcd"
    assert problem.remedy == "remove it"


def test_a_later_field_that_is_null_is_absent() -> None:
    assert not write.load({"a.yaml": write.fleet(more="windows: null, suspend: null")}).problems
