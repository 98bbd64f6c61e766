"""`fleetcd validate` says what is wrong in a way that people, CI and programs can use."""

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from reconciler.adapters.yaml_directory import Directory
from reconciler.adapters.yaml_text import MAX_BYTES
from reconciler.cli.validate import annotation, validate
from reconciler.domain.problems import Problem
from reconciler.errors import Unavailable
from schemas.refusal import Code
from tests.support import fleet_yaml as write

app = typer.Typer()
app.command()(validate)


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def repository(root: Path, **files: str) -> Path:
    for name, text in files.items():
        (root / f"{name}.yaml").write_text(text, encoding="utf-8")
    return root


def test_a_valid_repository_is_counted_and_exits_0(tmp_path: Path) -> None:
    repository(tmp_path, a=write.fleet(), b=write.release(), c=write.device("k"))
    assert run(tmp_path) == (0, "1 fleet, 1 release, 1 device: valid\n")


def test_one_mistake_exits_1_with_its_place_and_remedy(tmp_path: Path) -> None:
    repository(tmp_path, a=write.fleet(more="policy: carful"), b=write.release())
    column = write.fleet(more="policy: carful").splitlines()[3].index("carful") + 1
    assert run(tmp_path) == (
        1,
        f"{tmp_path}/a.yaml:4:{column}: spec.policy: there is no policy `carful`"
        " (add the RolloutPolicy) [E_REFERENCE]\n1 problem in 1 file\n",
    )


def test_the_current_directory_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository(tmp_path, a="kind: Fleet\n"))
    code, output = run()
    assert code == 1
    assert output.startswith("a.yaml:1:1: apiVersion: must be fleetcd/v1")


def test_json_is_one_object(tmp_path: Path) -> None:
    code, output = run(repository(tmp_path, a=write.fleet()), "-o", "json")
    report = json.loads(output)
    assert (code, report["valid"], report["found"]) == (1, False, {})
    assert report["problems"][0]["field"] == "spec.components.os"
    valid = json.loads(run(repository(tmp_path, b=write.release()), "-o", "json")[1])
    assert valid == {
        "valid": True,
        "found": {"fleets": 1, "releases": 1, "devices": 0},
        "problems": [],
    }


def test_github_annotations_cannot_be_broken_out_of() -> None:
    problem = Problem("a,b:c%.yaml", 3, 4, "", Code.SCHEMA, "50% a\r\n::error::x", "")
    assert annotation(problem) == (
        "::error file=a%2Cb%3Ac%25.yaml,title=E_SCHEMA,line=3,col=4::50%25 a%0D%0A::error::x"
    )


def test_a_problem_of_a_whole_file_has_no_line() -> None:
    problem = Problem("a.yaml", 0, 0, "", Code.MODE, "a symbolic link", "copy the file")
    assert annotation(problem) == (
        "::error file=a.yaml,title=E_MODE::a symbolic link (copy the file)"
    )


def test_a_directory_without_documents_is_a_mistake_not_a_success(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x", encoding="utf-8")
    code, output = run(tmp_path)
    assert code == 1
    assert "no YAML document that fleetcd reads" in output


def test_problems_of_a_kind_beyond_the_first_are_counted(tmp_path: Path) -> None:
    for number in range(25):
        (tmp_path / f"link-{number:02}").symlink_to("target")
    code, output = run(tmp_path)
    first, *links, more, total = output.splitlines()
    assert code == 1
    assert "no YAML document that fleetcd reads" in first
    assert [line.split(": ")[0] for line in links] == [
        f"{tmp_path}/link-{number:02}" for number in range(20)
    ]
    assert more == "5 more [E_MODE] (-o json has them all)"
    assert total == "26 problems in 26 files"
    assert len(json.loads(run(tmp_path, "-o", "json")[1])["problems"]) == 26


def test_hidden_directories_and_other_files_are_not_read(tmp_path: Path) -> None:
    repository(tmp_path, a=write.release())
    (tmp_path / ".github").mkdir()
    repository(tmp_path / ".github", workflow="on: push\n")
    (tmp_path / "notes.txt").write_bytes(b"\xff")
    assert run(tmp_path)[0] == 0


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    code, output = run(tmp_path)
    assert (code, "[E_LIMIT]" in output) == (1, True)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    directory = Directory(repository(tmp_path, a=write.release()))
    (tmp_path / "a.yaml").unlink()
    with pytest.raises(Unavailable, match=r"a\.yaml: No such file"):
        directory.read(["a.yaml"])


def test_a_name_that_does_not_print_is_refused_and_shown_escaped(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\n.yaml")).write_bytes(b"")
    code, output = run(tmp_path)
    assert code == 1
    assert "a\\udcff\\n.yaml: a file name with invisible characters" in output
