"""The directory that a module works in holds the same, byte for byte but for what is known."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.differential import both
from tests.support.differential_artifacts import Recipe, by_mender_artifact
from tests.support.differential_modules import Plan

pytestmark = pytest.mark.ci

JSON = ("header/header-info", "header/type-info", "header/meta-data")
# Where mender-client 3.4 differs from version 4 and from us. It ends these without a newline.
LINES = ("version", "current_artifact_name", "current_device_type")
# It lets root alone read the files.
FILE_MODES = {"100600": "100644"}
# It never fills this, and makes the first stream's pipe before the module has asked for it.
OTHERWISE = ("current_artifact_group", "streams/one")
Tree = Mapping[str, tuple[str, bytes]]


def trees(place: Path, call: str) -> tuple[Tree, Tree]:
    """Install twice on both devices, and return the tree as the second `call` found it."""
    (place / "meta").write_text('{"a": [1, {"b": null}], "c": "d"}')
    for name, content in (("one", b"1"), ("two", b"22"), ("empty", b"")):
        (place / name).write_bytes(content)
    recipe = Recipe(
        "recorder",
        tuple(place / name for name in ("one", "two", "empty")),
        provides=("app.version:1",),
        group="kiosks",
        meta_data=place / "meta",
    )
    path = place / "app-2.mender"
    by_mender_artifact(recipe, "gzip", path)
    found = []
    for device in both(place, Plan()):
        steps = device.steps([("install", path), ("commit",)] * 2)
        assert [step.status for step in steps] == [0] * 4
        found.append(normalised(device.tree(call)))
    return found[0], found[1]


def normalised(tree: Tree) -> Tree:
    def content(name: str, data: bytes) -> bytes:
        if name in LINES:
            return data.rstrip(b"\n")
        return json.dumps(json.loads(data), sort_keys=True).encode() if name in JSON else data

    return {
        name: (FILE_MODES.get(mode, mode), content(name, data))
        for name, (mode, data) in tree.items()
        if name not in OTHERWISE
    }


@pytest.mark.parametrize("call", ["Download", "ArtifactInstall", "ArtifactCommit"])
def test_a_module_finds_the_same_tree(tmp_path: Path, call: str) -> None:
    theirs, ours = trees(tmp_path, call)
    assert ours == theirs
    assert ours["current_artifact_name"][1] == b"app-2"
    assert ("files/two" in ours) == (call != "Download")
