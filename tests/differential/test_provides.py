"""What an artifact depends on, provides and clears comes out the same; so do the exit codes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.differential.known import differences
from tests.support.differential import Step, both
from tests.support.differential_artifacts import WRITERS, Recipe, by_mender_artifact
from tests.support.differential_modules import Plan

pytestmark = pytest.mark.ci

FIRST = Recipe(
    "recorder",
    name="first",
    provides=("app.version:1", "app.colour:red", "other:x"),
    clears=("app.*",),
    group="kiosks",
)
FITTING = {
    "a provide": Recipe("recorder", name="second", depends=("app.version:1",)),
    "the name": Recipe("recorder", name="second", depends_name=("no", "first")),
    "it clears some": Recipe("recorder", name="second", clears=("app.*", "*er"), provides=("z:1",)),
    "it clears one": Recipe("recorder", name="second", clears=("app.colour",)),
    "it clears a long one": Recipe("recorder", name="second", clears=("*far.longer.than.a.key",)),
    "it clears all": Recipe("recorder", name="second", clears=("*",), provides=("app.version:2",)),
    "another group": Recipe("recorder", name="second", group="others"),
}
UNFITTING = {
    "another device": Recipe("recorder", name="second", device_type="other"),
    "another value": Recipe("recorder", name="second", depends=("app.version:2",)),
    "an unknown key": Recipe("recorder", name="second", depends=("nothing:1",)),
    "another name": Recipe("recorder", name="second", depends_name=("no", "none")),
}


def made(place: Path, *recipes: Recipe, writer: str = "mender-artifact") -> Sequence[Path]:
    (place / "file").write_bytes(b"its content")
    found = []
    for recipe in recipes:
        found.append(place / f"{recipe.name}.mender")
        filled = replace(recipe, files=(place / "file",))
        WRITERS[writer](filled, "gzip", found[-1])
    return found


def outcome(place: Path, *commands: Sequence[str | Path]) -> Sequence[Step]:
    theirs, ours = both(place, Plan())
    expected = theirs.steps(commands)
    assert not differences(expected, ours.steps(commands))
    return expected


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("second", FITTING)
def test_it_is_provided_and_cleared_the_same(tmp_path: Path, second: str, writer: str) -> None:
    one, two = made(tmp_path, FIRST, FITTING[second], writer=writer)
    *_, last = outcome(tmp_path, ("install", one), ("commit",), ("install", two), ("commit",))
    assert last.provides["artifact_name"] == "second"
    assert last.status == 0


@pytest.mark.parametrize("second", UNFITTING)
def test_what_does_not_fit_is_refused(tmp_path: Path, second: str) -> None:
    one, two = made(tmp_path, FIRST, UNFITTING[second])
    *_, refused = outcome(tmp_path, ("install", one), ("commit",), ("install", two))
    assert refused.status == 1
    assert refused.provides["artifact_name"] == "first"


@pytest.mark.parametrize("command", ["commit", "rollback"])
def test_without_an_update_there_is_nothing_to_end(tmp_path: Path, command: str) -> None:
    (ended,) = outcome(tmp_path, (command,))
    assert ended.status == 2


@pytest.mark.parametrize("damage", ["no artifact", "cut off", "other content"])
def test_what_is_no_artifact_is_refused(tmp_path: Path, damage: str) -> None:
    (path,) = made(tmp_path, FIRST)
    data = path.read_bytes()
    if damage == "no artifact":
        path.write_bytes(b"no artifact")
    elif damage == "cut off":
        path.write_bytes(data[: len(data) // 2])
    else:
        by_mender_artifact(Recipe("recorder", (tmp_path / "file",)), "none", path)
        path.write_bytes(path.read_bytes().replace(b"its content", b"bad content"))
    refused, after = outcome(tmp_path, ("install", path), ("commit",))
    assert (refused.status, after.status) == (1, 2)


def test_there_is_no_such_file(tmp_path: Path) -> None:
    (refused,) = outcome(tmp_path, ("install", tmp_path / "nothing.mender"))
    assert refused.status == 1
