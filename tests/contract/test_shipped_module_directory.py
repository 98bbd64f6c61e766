"""The module `directory`, called as the agent calls it, with the files that Mender's takes."""

import subprocess
from pathlib import Path

import pytest

from tests.support.shipped_modules import ShippedModule, content_of

OLD: dict[str, bytes | None] = {"both.txt": b"old", "old.txt": b"old"}
NEW: dict[str, bytes | None] = {"both.txt": b"new", "lib": None, "lib/new.txt": b"new"}


def fill(directory: Path, content: dict[str, bytes | None]) -> None:
    directory.mkdir(parents=True)
    for name, data in content.items():
        if data is None:
            (directory / name).mkdir()
        else:
            (directory / name).write_bytes(data)


def module(root: Path, dest: Path | str) -> ShippedModule:
    """Return an update as directory-artifact-gen makes it: `tar -C` of the directory itself."""
    source, archive = root / "source", root / "update.tar"
    fill(source, NEW)
    argv = ["tar", "-cf", str(archive), "-C", str(source), "."]
    subprocess.run(argv, check=True, timeout=60)
    files = {"update.tar": archive.read_bytes(), "dest_dir": f"{dest}\n".encode()}
    return ShippedModule(root, "directory", files)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    directory = tmp_path / "opt" / "app"
    fill(directory, OLD)
    return directory


def test_the_directory_is_replaced_as_a_whole(tmp_path: Path, dest: Path) -> None:
    module(tmp_path, dest).succeed("ArtifactInstall", "ArtifactCommit", "Cleanup")
    assert content_of(dest) == NEW
    assert list(dest.parent.iterdir()) == [dest]


def test_a_rollback_brings_the_same_directory_back(tmp_path: Path, dest: Path) -> None:
    before = dest.stat()
    module(tmp_path, dest).succeed("ArtifactInstall", "ArtifactRollback", "Cleanup")
    assert content_of(dest) == OLD
    assert dest.stat().st_ino == before.st_ino
    assert list(dest.parent.iterdir()) == [dest]


def test_a_rollback_still_works_when_commit_was_cut(tmp_path: Path, dest: Path) -> None:
    update = module(tmp_path, dest)
    update.succeed("ArtifactInstall", "ArtifactCommit", "ArtifactRollback", "ArtifactRollback")
    assert content_of(dest) == OLD


def test_a_rollback_removes_a_directory_that_was_not_there(tmp_path: Path, dest: Path) -> None:
    other = dest.parent / "new" / "deep" / "app"
    update = module(tmp_path, other)
    update.succeed("ArtifactInstall")
    assert content_of(other) == NEW
    update.succeed("ArtifactRollback", "Cleanup")
    assert list(dest.parent.iterdir()) == [dest]


def test_it_says_that_it_can_roll_back(tmp_path: Path, dest: Path) -> None:
    assert module(tmp_path, dest).answer("SupportsRollback") == "Yes\n"


def test_a_trailing_slash_does_not_matter(tmp_path: Path, dest: Path) -> None:
    module(tmp_path, f"{dest}/").succeed("ArtifactInstall", "Cleanup")
    assert content_of(dest) == NEW


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("/", "must not be `/`"),
        ("//", "must not be `/`"),
        ("/.", "must not be `/`"),
        ("opt/app", "must be an absolute path"),
        ("/opt/../etc", "without `..`"),
        ("/proc", "/proc is a mount point"),
    ],
)
def test_a_dest_dir_that_may_not_be_is_refused(word: str, said: str, tmp_path: Path) -> None:
    update = module(tmp_path, word)
    assert said in update.refusal("ArtifactInstall")
    update.succeed("ArtifactRollback", "ArtifactFailure", "Cleanup")


def test_the_agents_own_data_is_not_replaced(tmp_path: Path) -> None:
    update = module(tmp_path, tmp_path / "state")
    assert "holds the agent's own data" in update.refusal("ArtifactInstall")
    assert update.path.is_dir()


def test_a_link_is_not_replaced(tmp_path: Path, dest: Path) -> None:
    link = dest.parent / "current"
    link.symlink_to("app")
    assert "is a link or a file" in module(tmp_path, link).refusal("ArtifactInstall")
    assert content_of(dest) == OLD


def test_a_directory_above_may_be_a_link(tmp_path: Path, dest: Path) -> None:
    (tmp_path / "link").symlink_to("opt")
    module(tmp_path, tmp_path / "link" / "app").succeed("ArtifactInstall", "Cleanup")
    assert content_of(dest) == NEW


def test_an_archive_that_cannot_be_read_leaves_the_old_directory(
    tmp_path: Path, dest: Path
) -> None:
    update = module(tmp_path, dest)
    (update.tree.files / "update.tar").write_bytes(b"no archive")
    assert "update.tar cannot be read" in update.refusal("ArtifactInstall")
    update.succeed("ArtifactRollback", "ArtifactFailure", "Cleanup")
    assert content_of(dest) == OLD
    assert list(dest.parent.iterdir()) == [dest]


def test_a_payload_without_its_archive_is_refused(tmp_path: Path, dest: Path) -> None:
    update = module(tmp_path, dest)
    (update.tree.files / "update.tar").unlink()
    assert "no file 'update.tar'" in update.refusal("ArtifactInstall")


def test_cleanup_keeps_the_old_directory_when_its_place_is_empty(
    tmp_path: Path, dest: Path
) -> None:
    """As after a rollback that could not be: what is left must not be thrown away as well."""
    update = module(tmp_path, dest)
    update.succeed("ArtifactInstall")
    subprocess.run(["rm", "-r", str(dest)], check=True, timeout=60)
    assert "move one back" in update.refusal("Cleanup")
    assert content_of(dest.with_name(".app.fleetcd-aside")) == OLD


def test_what_a_lost_update_left_on_the_way_is_not_thrown_away(tmp_path: Path, dest: Path) -> None:
    dest.rename(dest.with_name(".app.fleetcd-passing"))
    assert "left by an interrupted update" in module(tmp_path, dest).refusal("ArtifactInstall")
    assert content_of(dest.with_name(".app.fleetcd-passing")) == OLD
