"""Case 78: what Git stores as a link or as another repository is refused before it is committed."""

from pathlib import Path

import pytest

from reconciler.cli.validate import judge
from schemas.refusal import Code
from tests.support import fleet_yaml as write


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "release.yaml").write_text(write.release(), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("target", ["release.yaml", "/etc/passwd", "nowhere", "."])
def test_case_78_a_symbolic_link_is_refused_and_not_followed(repository: Path, target: str) -> None:
    (repository / "link.yaml").symlink_to(target)
    (problem,) = judge(repository).problems
    assert (problem.code, problem.file) == (Code.MODE, str(repository / "link.yaml"))
    assert problem.remedy == "copy the file: links are not followed"


def test_case_78_a_linked_directory_is_refused_and_not_entered(repository: Path) -> None:
    outside = repository.parent / f"{repository.name}-outside"
    outside.mkdir()
    (outside / "a.yaml").write_text("a: [", encoding="utf-8")
    (repository / "fleets").symlink_to(outside)
    assert [problem.code for problem in judge(repository).problems] == [Code.MODE]


def test_case_78_a_submodule_is_refused_and_not_entered(repository: Path) -> None:
    (repository / "module").mkdir()
    (repository / "module" / ".git").write_text("gitdir: ../.git/modules/module", encoding="utf-8")
    (repository / "module" / "a.yaml").write_text("a: [", encoding="utf-8")
    (problem,) = judge(repository).problems
    assert (problem.code, problem.remedy) == (Code.MODE, "copy its files: submodules are not read")
