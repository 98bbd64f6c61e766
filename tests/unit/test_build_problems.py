"""What documents say about each other is checked, and every contradiction is shown where it is."""

import pytest

from reconciler.domain.build import Broken, build
from schemas.refusal import Code
from tests.support import fleet_yaml as write

KEY = f'key: "sha256:{"0" * 64}"'


def test_an_unknown_release_is_shown_with_the_one_that_was_meant() -> None:
    problem = write.only_problem(
        write.fleet(), write.release("2"), write.release("1", name="demo-app")
    )
    assert (problem.line, problem.field) == (5, "spec.components.os")
    assert problem.column == write.fleet().splitlines()[3].index("demo-os@1") + 1
    assert problem.code is Code.REFERENCE
    assert problem.message == "there is no release `demo-os@1`"
    assert problem.remedy == "did you mean `demo-os@2`?"


def test_an_unknown_policy_is_shown_with_the_one_that_was_meant() -> None:
    problem = write.only_problem(
        write.fleet(more="policy: carefull"),
        write.release(),
        write.policy("careful", "{name: a, count: 1}"),
    )
    assert (problem.field, problem.message) == ("spec.policy", "there is no policy `carefull`")
    assert problem.remedy == "did you mean `careful`?"


def test_an_unknown_default_policy_is_shown_even_without_a_fleet() -> None:
    problem = write.only_problem(write.document("Project", "a", "{defaults: {policy: x}}"))
    assert (problem.field, problem.remedy) == ("spec.defaults.policy", "add the RolloutPolicy")


def test_a_pin_of_a_component_that_no_fleet_has_is_refused() -> None:
    problem = write.only_problem(
        write.fleet(), write.release(), write.device("k", spec="{pin: {oss: demo-os@1}}")
    )
    assert (problem.code, problem.field) == (Code.REFERENCE, "spec.pin.oss")
    assert problem.remedy == "did you mean `os`?"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (write.fleet(), "spec.components.os"),
        (write.device("k", spec="{pin: {os: demo-os@1}}"), "spec.pin.os"),
    ],
)
def test_a_withdrawn_release_may_not_be_named(document: str, field: str) -> None:
    fleet = write.fleet("other", "a=b").replace("demo-os@1", "demo-os@2")
    problem = write.only_problem(
        write.release(more='withdrawn: "CVE-2026-1"'), write.release("2"), document, fleet
    )
    assert (problem.code, problem.field) == (Code.POLICY, field)
    assert problem.message == "`demo-os@1` is withdrawn: CVE-2026-1"


@pytest.mark.parametrize(
    ("twice", "what", "line"),
    [
        (write.policy("a", "{name: a, count: 1}"), "RolloutPolicy `a`", 8),
        (write.release(), "Release `demo-os@1`", 9),
        (write.device("a"), "device `a`", 8),
        (write.document("DeviceList", "a", "{devices: []}"), "DeviceList `a`", 8),
    ],
)
def test_what_stands_twice_is_shown_with_the_first_place(twice: str, what: str, line: int) -> None:
    problem = write.only_problem(twice, twice)
    assert problem.code is Code.DUP
    assert (problem.line, problem.message.startswith(f"{what} stands twice")) == (line + 1, True)
    assert f"first in all.yaml:{line - 4}" in problem.message


def test_there_is_one_project() -> None:
    problem = write.only_problem(
        write.document("Project", "a", "{}"), write.document("Project", "b", "{}")
    )
    assert (problem.line, problem.message) == (9, "a second Project, the first is in all.yaml:4")


def test_two_versions_of_a_release_are_two_releases() -> None:
    assert len(write.desired(write.release("1"), write.release("2")).descriptors) == 2


def test_a_device_is_listed_once_whichever_way() -> None:
    listed = write.document("DeviceList", "l", "{devices: [{name: b}, {name: k}]}")
    problem = write.only_problem(write.device("k"), listed)
    assert (problem.field, problem.code) == ("spec.devices[1].name", Code.DUP)


def test_a_key_belongs_to_one_device() -> None:
    listed = write.document(
        "DeviceList", "l", f"{{devices: [{{name: b, {KEY}}}, {{name: c, {KEY}}}]}}"
    )
    problem = write.only_problem(listed)
    assert problem.field == "spec.devices[1].key"
    assert "the key of device `b` stands twice" in problem.message


def test_stages_must_grow() -> None:
    problem = write.only_problem(
        write.policy("p", "{name: a, percent: 10}, {name: b, count: 3}, {name: c, percent: 10}")
    )
    assert problem.field == "spec.stages[2].percent"
    assert "stage `c` adds no device" in problem.message


def test_nothing_comes_after_everybody() -> None:
    problem = write.only_problem(write.policy("p", "{name: a, percent: 100}, {name: b, count: 3}"))
    assert problem.field == "spec.stages[1].count"


def test_counts_grow_by_themselves() -> None:
    problem = write.only_problem(write.policy("p", "{name: a, count: 3}, {name: b, count: 3}"))
    assert problem.field == "spec.stages[1].count"


@pytest.mark.parametrize("ways", ["", "count: 1, percent: 5", "selector: a, count: 1"])
def test_a_stage_names_its_devices_in_one_way(ways: str) -> None:
    problem = write.only_problem(write.policy("p", f"{{name: a, {ways}}}"))
    assert problem.field == "spec.stages[0]"
    assert problem.remedy == "write exactly one of them"


def test_a_descriptor_that_devices_would_not_read_is_refused() -> None:
    url = "https://a.example/" + "x" * 1900
    artifacts = ", ".join(
        f'{{compatible: a=b{n}, sha256: "{"0" * 64}", size: 1, url: "{url}"}}' for n in range(40)
    )
    text = write.document(
        "Release", "big", f"{{version: 1.0.0, installer: rootfs-ab, artifacts: [{artifacts}]}}"
    )
    assert write.only_problem(text).code is Code.LIMIT


def test_while_a_file_cannot_be_read_what_it_may_declare_is_not_called_missing() -> None:
    loaded = write.load({"fleet.yaml": write.fleet(more="policy: x"), "release.yaml": "a: ["})
    result = build(loaded, commit=write.COMMIT, committed_at=None)
    assert isinstance(result, Broken)
    assert [problem.file for problem in result.problems] == ["release.yaml"]


def test_mistakes_inside_and_between_documents_come_together() -> None:
    loaded = write.load({"a.yaml": "a: [", "b.yaml": f"{write.fleet()}---\n{write.fleet()}"})
    result = build(loaded, commit=write.COMMIT, committed_at=None)
    assert isinstance(result, Broken)
    assert [problem.code for problem in result.problems] == [Code.SYNTAX, Code.DUP]
