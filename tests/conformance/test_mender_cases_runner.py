"""The runner of case files believes nothing: a wrong expectation, field or mode is a failure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.divergences import DIVERGENCES
from tests.conformance.mender_cases import MODES, main

MATCH: Mapping[str, Any] = {
    "id": "clears/a",
    "mode": "clears-provides",
    "name": "a",
    "key": "app.version",
    "pattern": "app.*",
    "expected": True,
}
QUERY: Mapping[str, Any] = {
    "id": "um/query",
    "mode": "update-module",
    "name": "query",
    "given": {"query": "SupportsRollback", "stdout": "Yes", "exit": 0},
    "expected": {"answer": "true"},
}
GZIP: Mapping[str, Any] = {
    "id": "artifact/gzip",
    "mode": "artifact-parser",
    "name": "gzip",
    "expected": "ok",
}
EARLY: Mapping[str, Any] = {
    "id": "resume/early",
    "mode": "download-resume",
    "name": "early",
    "given": {"early_range_start": "true"},
    "expected": {"success": False},
}
FAILS: Mapping[str, Any] = {
    "id": "daemon/fails",
    "mode": "daemon",
    "name": "fails",
    "module": {"fail": ["ArtifactInstall"], "fail_repeat": "once"},
    "scripts": {"fail": []},
    "supports_rollback": True,
    "needs_reboot": "No",
    "expected_status_reports": ["downloading", "installing", "failure"],
    "expected_outcome": "rolled_back",
    "expected_artifact_name": "old_name",
}
BY_HAND: Mapping[str, Any] = {
    "id": "standalone/by-hand",
    "mode": "standalone",
    "name": "by-hand",
    "commands": [["install", "ARTIFACT"], ["commit"]],
    "supports_rollback": True,
    "expected_exit_codes": [0, 0],
    "expected_outcome": "success",
}


def run(tmp_path: Path, *cases: Mapping[str, Any], arguments: tuple[str, ...] = ()) -> int:
    file = tmp_path / "cases.json"
    file.write_text(json.dumps({"cases": cases}))
    return main([str(file), *arguments])


def test_cases_that_hold_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, MATCH, QUERY, GZIP, FAILS, BY_HAND) == 0
    assert "5 of 5 cases" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [
        {**MATCH, "expected": False},
        {**QUERY, "expected": {"answer": "false"}},
        {**GZIP, "expected": "SignatureVerificationError"},
        {**GZIP, "expected": "error while reading"},
        {**FAILS, "expected_outcome": "success"},
        {**FAILS, "expected_calls": ["Download"]},
        {**BY_HAND, "expected_exit_codes": [0, 1]},
        {**BY_HAND, "expected_stdout": [None, "Kept.\n"]},
    ],
    ids=["match", "query", "refusal", "any refusal", "outcome", "calls", "exit code", "words"],
)
def test_a_wrong_expectation_fails_and_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: Mapping[str, Any]
) -> None:
    assert run(tmp_path, MATCH, wrong) == 1
    printed = capsys.readouterr().out
    assert f"FAILED       {wrong['id']}" in printed
    assert "expected" in printed
    assert "actual" in printed


@pytest.mark.parametrize(
    "strange",
    [
        {**MATCH, "colour": "blue"},
        {**MATCH, "mode": "orchestrator"},
        {**MATCH, "key": 7},
        {**GZIP, "name": "lz4"},
        {**GZIP, "expected": "it depends"},
        {**EARLY, "given": {"server_on_fire": "true"}},
        {**QUERY, "expected": {"answer": "true", "within": 3}},
        {**FAILS, "module": {"explode": ["ArtifactInstall"]}},
        {**FAILS, "environment": {"solar_flare": True}},
        {**BY_HAND, "commands": []},
        {**BY_HAND, "artifact": "a cake"},
    ],
    ids=[
        *("field", "mode", "type", "name", "expectation", "given", "inner field"),
        *("module", "environment", "commands", "artifact"),
    ],
)
def test_what_the_runner_does_not_understand_is_unsupported_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], strange: Mapping[str, Any]
) -> None:
    assert run(tmp_path, strange) == 1
    assert "UNSUPPORTED" in capsys.readouterr().out


def test_a_listed_divergence_is_counted_by_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, EARLY) == 0
    assert "1  range-that-starts-early" in capsys.readouterr().out


def test_a_divergence_that_is_none_any_more_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row says that we take such an answer, so a client that refuses it is not excused."""
    excused = {
        **EARLY,
        "given": {"early_range_start": "true", "no_partial_content_support": "true"},
    }
    assert run(tmp_path, excused) == 1
    assert "FAILED" in capsys.readouterr().out


def test_no_case_at_all_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, MATCH, arguments=("-k", "nothing of that name")) == 1
    assert run(tmp_path) == 1
    assert main([str(tmp_path / "absent.json")]) == 1


def test_cases_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {**QUERY, "expected": {"answer": "false"}}
    assert run(tmp_path, MATCH, wrong, arguments=("--mode", "clears-provides", "-v")) == 0
    assert "PASSED       clears/a" in capsys.readouterr().out


def test_every_row_has_a_name_of_its_own_and_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-divergences"]) == 0
    printed = capsys.readouterr().out
    assert len({each.row for each in DIVERGENCES}) == len(DIVERGENCES)
    assert all(each.row in printed and each.reason in printed for each in DIVERGENCES)


def test_every_row_stands_in_the_compatibility_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "mender-compatibility.md").read_text()
    assert not [each.row for each in DIVERGENCES if f"`{each.row}`" not in page]


def test_every_mode_of_the_known_files_has_a_runner() -> None:
    agents = {"daemon", "daemon-rootfs", "standalone", "state-script", "update-module"}
    bytes_of = {"artifact-manifest", "artifact-parser", "clears-provides", "download-resume"}
    assert set(MODES) == agents | bytes_of
