"""The module `single-file`, called as the agent calls it, with the files that Mender's takes."""

import os
import stat
from pathlib import Path

import pytest

from tests.support.shipped_modules import ShippedModule


def module(
    root: Path,
    dest: Path | str,
    *,
    name: str = "app.conf",
    permissions: str = "640",
    content: bytes = b"new",
) -> ShippedModule:
    """Return an update in the layout of single-file-artifact-gen, which ends words by newlines."""
    return ShippedModule(
        root,
        "single-file",
        {
            "dest_dir": f"{dest}\n".encode(),
            "filename": f"{name}\n".encode(),
            "permissions": f"{permissions}\n".encode(),
            name.replace("/", "_"): content,
        },
    )


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    directory = tmp_path / "etc"
    directory.mkdir()
    return directory


def test_the_file_is_installed_with_its_permissions(tmp_path: Path, dest: Path) -> None:
    module(tmp_path, dest, permissions="4750").succeed("ArtifactInstall", "ArtifactCommit")
    file = dest / "app.conf"
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o4750


def test_a_replaced_file_keeps_its_owner(tmp_path: Path, dest: Path) -> None:
    file = dest / "app.conf"
    file.write_bytes(b"old")
    if os.geteuid() == 0:
        os.chown(file, 1234, 2345)
    owner = (file.stat().st_uid, file.stat().st_gid)
    module(tmp_path, dest).succeed("ArtifactInstall", "ArtifactInstall")
    assert (file.stat().st_uid, file.stat().st_gid) == owner
    assert file.read_bytes() == b"new"


def test_a_rollback_brings_the_old_file_back_as_it_was(tmp_path: Path, dest: Path) -> None:
    file = dest / "app.conf"
    file.write_bytes(b"old")
    file.chmod(0o604)
    os.utime(file, (1_700_000_000, 1_700_000_000))
    before = file.stat()
    module(tmp_path, dest).succeed("ArtifactInstall", "ArtifactRollback", "ArtifactRollback")
    after = file.stat()
    assert file.read_bytes() == b"old"
    assert (after.st_mode, after.st_uid, after.st_gid, after.st_mtime) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
        before.st_mtime,
    )


def test_a_rollback_removes_a_file_that_was_not_there(tmp_path: Path, dest: Path) -> None:
    module(tmp_path, dest / "new" / "deep").succeed("ArtifactInstall", "ArtifactRollback")
    assert list(dest.iterdir()) == []


def test_a_rollback_leaves_what_others_put_into_a_new_directory(tmp_path: Path, dest: Path) -> None:
    update = module(tmp_path, dest / "new")
    update.succeed("ArtifactInstall")
    (dest / "new" / "other").write_bytes(b"x")
    update.succeed("ArtifactRollback")
    assert [path.name for path in (dest / "new").iterdir()] == ["other"]


def test_a_rollback_still_works_when_commit_was_cut(tmp_path: Path, dest: Path) -> None:
    (dest / "app.conf").write_bytes(b"old")
    module(tmp_path, dest).succeed("ArtifactInstall", "ArtifactCommit", "ArtifactRollback")
    assert (dest / "app.conf").read_bytes() == b"old"


def test_nothing_but_the_file_is_left_beside_it(tmp_path: Path, dest: Path) -> None:
    (dest / "app.conf").write_bytes(b"old")
    module(tmp_path, dest).succeed("ArtifactInstall", "ArtifactCommit", "Cleanup")
    assert [path.name for path in dest.iterdir()] == ["app.conf"]


def test_it_says_that_it_can_roll_back(tmp_path: Path, dest: Path) -> None:
    assert module(tmp_path, dest).answer("SupportsRollback") == "Yes\n"


def test_a_file_without_bytes_is_a_file(tmp_path: Path, dest: Path) -> None:
    module(tmp_path, dest, content=b"").succeed("ArtifactInstall")
    assert (dest / "app.conf").read_bytes() == b""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"dest_dir": b"etc\n"}, "dest_dir 'etc' must be an absolute", id="relative"),
        pytest.param({"dest_dir": b"/a/../b\n"}, "without `..`", id="dest_dir with .."),
        pytest.param({"dest_dir": b"\n"}, "'dest_dir' must hold one line", id="no dest_dir"),
        pytest.param({"dest_dir": b"/a\n/b\n"}, "'dest_dir' must hold one line", id="two lines"),
        pytest.param({"dest_dir": b"/" * 5000}, "'dest_dir' must hold one line", id="too long"),
        pytest.param({"filename": b"../x\n"}, "must be a plain file name", id="name with /"),
        pytest.param({"filename": b"..\n"}, "must be a plain file name", id="name is .."),
        pytest.param({"filename": b"other\n"}, "no file 'other'", id="another name"),
        pytest.param({"permissions": b"u+x\n"}, "must be octal", id="symbolic permissions"),
        pytest.param({"permissions": b"999\n"}, "must be octal", id="not octal"),
    ],
)
def test_a_payload_that_makes_no_sense_is_refused_and_changes_nothing(
    changed: dict[str, bytes], said: str, tmp_path: Path, dest: Path
) -> None:
    update = module(tmp_path, dest)
    for name, content in changed.items():
        (update.tree.files / name).write_bytes(content)
    assert said in update.refusal("ArtifactInstall")
    update.succeed("ArtifactRollback", "ArtifactFailure", "Cleanup")
    assert list(dest.iterdir()) == []


def test_a_payload_without_one_of_its_words_is_refused(tmp_path: Path, dest: Path) -> None:
    update = module(tmp_path, dest)
    (update.tree.files / "filename").unlink()
    assert "no file 'filename'; add it to the artifact" in update.refusal("ArtifactInstall")


def test_an_early_artifact_without_permissions_keeps_the_mode_that_the_file_came_with(
    tmp_path: Path, dest: Path
) -> None:
    update = module(tmp_path, dest)
    (update.tree.files / "permissions").unlink()
    (update.tree.files / "app.conf").chmod(0o604)
    update.succeed("ArtifactInstall")
    assert stat.S_IMODE((dest / "app.conf").stat().st_mode) == 0o604


def test_a_link_is_neither_followed_nor_replaced(tmp_path: Path, dest: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"old")
    (dest / "app.conf").symlink_to(secret)
    update = module(tmp_path, dest)
    assert "app.conf is a symbolic link" in update.refusal("ArtifactInstall")
    update.succeed("ArtifactRollback", "Cleanup")
    assert secret.read_bytes() == b"old"
    assert (dest / "app.conf").is_symlink()


def test_a_link_under_the_unfinished_files_name_is_not_followed(tmp_path: Path, dest: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"old")
    (dest / ".app.conf.fleetcd-new").symlink_to(secret)
    module(tmp_path, dest).succeed("ArtifactInstall")
    assert secret.read_bytes() == b"old"
    assert not (dest / "app.conf").is_symlink()


def test_a_directory_is_not_replaced_by_a_file(tmp_path: Path, dest: Path) -> None:
    (dest / "app.conf").mkdir()
    assert "app.conf is not a file" in module(tmp_path, dest).refusal("ArtifactInstall")


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path, dest: Path) -> None:
    """A limit on file sizes stands for a full disk: both end the write with an error."""
    (dest / "app.conf").write_bytes(b"old")
    update = module(tmp_path, dest, content=bytes(2_000_000))
    limited = tmp_path / "limited"
    text = f'#!/bin/bash\ntrap "" XFSZ\nulimit -f 1000\nexec {update.program} "$@"\n'
    limited.write_text(text)
    limited.chmod(0o755)
    update.program = limited
    assert "File too large" in update.refusal("ArtifactInstall")
    update.succeed("ArtifactRollback", "Cleanup")
    assert [path.name for path in dest.iterdir()] == ["app.conf"]
    assert (dest / "app.conf").read_bytes() == b"old"
