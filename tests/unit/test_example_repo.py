"""The repository that teams copy is valid as shipped, and after its examples are activated."""

import shutil
from pathlib import Path

import pytest

from reconciler.cli.validate import judge
from tests.support import fleet_yaml as write

EXAMPLE = Path(__file__).parents[2] / "fleet-repo-example"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "fleet"))


def test_it_is_valid_as_shipped() -> None:
    assert judge(EXAMPLE).problems == ()


def test_the_readme_s_first_rollout_gives_a_valid_repository(copy: Path) -> None:
    release = write.release("1.0.0", name="kiosk-os")
    (copy / "releases" / "kiosk-os.yaml").write_text(release, encoding="utf-8")
    examples = list(copy.rglob("*.example"))
    for example in examples:
        example.rename(example.with_suffix(""))
    assert len(examples) == 2
    verdict = judge(copy)
    assert verdict.problems == ()
    assert verdict.found == {"fleets": 1, "releases": 1, "devices": 3}


def test_a_fleet_without_its_release_would_not_be_valid(copy: Path) -> None:
    (copy / "fleets" / "kiosks.yaml.example").rename(copy / "fleets" / "kiosks.yaml")
    (problem,) = judge(copy).problems
    assert problem.message == "there is no release `kiosk-os@1.0.0`"


def test_it_is_small_and_its_workflow_runs_validate() -> None:
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 32 * 1024
    workflow = (EXAMPLE / ".github/workflows/fleet.yml").read_text(encoding="utf-8")
    assert "fleetcd validate . --output github" in workflow
