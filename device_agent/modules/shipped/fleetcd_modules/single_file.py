"""The Update Module `single-file`: puts one file in its place, and can take it back.

Payload: `dest_dir`, `filename`, `permissions` (one line each) and the file itself; early artifacts
have no `permissions`. The file that it replaces waits in the tree's `tmp/`; the note `before` is on
the disk before anything changes.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from . import files
from .protocol import Module, Refused, Tree

_NOTE, _OLD = "before", "old"


class Before(NamedTuple):
    """What was there: `target` is the file's path, `made` lists missing directories above it."""

    target: str
    existed: bool
    made: list[str]


def install(tree: Tree) -> None:
    target = _target(tree)
    source = tree.files / target.name
    if not source.is_file():
        raise Refused(f"the payload has no file {target.name!r}, which its `filename` names")
    mode = _mode(tree, source)
    before = _before(tree, target)
    files.make(before.made)
    files.place(source, target, _look(tree, before, mode))


def rollback(tree: Tree) -> None:
    """Bring the old file back; without one, remove the new. Before install(): no effect."""
    note = tree.note(_NOTE)
    if note is None:
        return
    before = Before(**note)
    target = Path(before.target)
    if before.existed:
        files.place(tree.tmp / _OLD, target)
    elif target.parent.is_dir():
        files.unfinished(target).unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        files.sync_directory(target.parent)
    files.unmake(before.made)


def cleanup(tree: Tree) -> None:
    """Remove what a killed call left beside the file; the tree goes with the agent."""
    note = tree.note(_NOTE)
    if note is not None:
        files.unfinished(Path(Before(**note).target)).unlink(missing_ok=True)


def _before(tree: Tree, target: Path) -> Before:
    """Return what was there at first, however often install() is repeated."""
    note = tree.note(_NOTE)
    if note is not None:
        return Before(**note)
    existed = _is_there(target)
    if existed:
        files.place(target, tree.tmp / _OLD)
    before = Before(str(target), existed, files.missing(target.parent))
    tree.write_note(_NOTE, before._asdict())
    return before


def _is_there(target: Path) -> bool:
    try:
        kind = target.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(kind):
        what = "a symbolic link" if stat.S_ISLNK(kind) else "not a file"
        raise Refused(f"{target} is {what}: nothing is replaced there; name a plain file")
    return True


def _look(tree: Tree, before: Before, mode: int) -> files.Look:
    """Keep the owner of the file that is replaced; a new one belongs to who runs this."""
    if not before.existed:
        return files.Look(mode, os.geteuid(), os.getegid())
    status = (tree.tmp / _OLD).stat()
    return files.Look(mode, status.st_uid, status.st_gid)


def _target(tree: Tree) -> Path:
    directory, name = PurePosixPath(tree.word("dest_dir")), tree.word("filename")
    if not directory.is_absolute() or ".." in directory.parts:
        raise Refused(f"dest_dir {str(directory)!r} must be an absolute path without `..`")
    if name in (".", "..") or "/" in name:
        raise Refused(f"filename {name!r} must be a plain file name")
    return Path(directory / name)


def _mode(tree: Tree, source: Path) -> int:
    """Return what `permissions` says; without it the mode that the file came with, as Mender's."""
    if not os.path.lexists(tree.files / "permissions"):
        return stat.S_IMODE(source.stat().st_mode)
    permissions = tree.word("permissions")
    if not re.fullmatch("[0-7]{1,4}", permissions):
        raise Refused(f"permissions {permissions!r} must be octal, such as 644")
    return int(permissions, 8)


MODULE = Module(
    "single-file",
    actions={"ArtifactInstall": install, "ArtifactRollback": rollback, "Cleanup": cleanup},
    supports_rollback=lambda _: True,
)
