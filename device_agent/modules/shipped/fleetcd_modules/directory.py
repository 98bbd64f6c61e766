"""The Update Module `directory`: replaces a whole directory in one step, and can take it back.

Payload: `dest_dir` (one line) and `update.tar`. The new directory is unpacked beside the old one,
then the two change places. The old one waits there until Cleanup: a power cut during
ArtifactCommit still leads to a rollback.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from . import files, swap
from .protocol import Module, Refused, Tree
from .unpack import unpack

_PLAN, _NEW = "plan", "new"


class Plan(NamedTuple):
    """What was there: inode number of the old directory, and missing directories above it."""

    dest: str
    old: int | None
    made: list[str]


def install(tree: Tree) -> None:
    """Unpack beside, note which directory is the new one, then swap. Again: as far as needed."""
    plan = _plan(tree)
    at = swap.places(Path(plan.dest))
    new: int | None = tree.note(_NEW)
    if new is None:
        swap.remove(at.aside)
        files.make(plan.made)
        unpack(tree.files / "update.tar", at.aside, _look(at.dest))
        files.sync_directory(at.dest.parent)
        new = at.aside.stat().st_ino
        tree.write_note(_NEW, new)
    swap.bring_in(at, new)


def rollback(tree: Tree) -> None:
    """Bring the old directory back, and remove the new. Before install(): no effect."""
    note = tree.note(_PLAN)
    if note is None:
        return
    plan = Plan(**note)
    at = swap.places(Path(plan.dest))
    new: int | None = tree.note(_NEW)
    if new is not None and plan.old is not None:
        swap.bring_in(at, plan.old)
    elif new is not None and swap.inode(at.dest) == new:
        at.dest.rename(at.aside)
        files.sync_directory(at.dest.parent)
    swap.remove(at.aside)
    files.unmake(plan.made)


def cleanup(tree: Tree) -> None:
    """Remove the directory that is no longer wanted, if its place is taken by the other."""
    note = tree.note(_PLAN)
    if note is None:
        return
    plan = Plan(**note)
    at = swap.places(Path(plan.dest))
    if plan.old is not None and swap.inode(at.dest) is None:
        raise Refused(f"{at.dest} is missing, so {at.aside} and {at.passing} stay; move one back")
    swap.remove(at.aside)
    swap.remove(at.passing)


def _plan(tree: Tree) -> Plan:
    """Return what was there at first, however often install() is repeated."""
    note = tree.note(_PLAN)
    if note is not None:
        return Plan(**note)
    if not (tree.files / "update.tar").is_file():
        raise Refused("the payload has no file 'update.tar'; add it to the artifact")
    dest = _dest(tree)
    at = swap.places(dest)
    if swap.inode(at.passing) is not None:
        raise Refused(f"{at.passing} was left by an interrupted update; move it back or remove it")
    plan = Plan(str(dest), swap.inode(dest), files.missing(dest.parent))
    tree.write_note(_PLAN, plan._asdict())
    return plan


def _dest(tree: Tree) -> Path:
    word = PurePosixPath(tree.word("dest_dir"))
    if not word.is_absolute() or ".." in word.parts:
        raise Refused(f"dest_dir {str(word)!r} must be an absolute path without `..`")
    if not word.name:
        raise Refused("dest_dir must not be `/`")
    dest = Path(word).parent.resolve() / word.name  # the kernel's names, for mount points
    own = tree.path.resolve()
    if dest in (own, *own.parents):
        raise Refused(f"{dest} holds the agent's own data; name a directory of the update's own")
    if swap.inode(dest) is not None and not stat.S_ISDIR(dest.lstat().st_mode):
        raise Refused(f"{dest} is a link or a file, not a directory; name the directory itself")
    swap.refuse_mounts(dest)
    return dest


def _look(dest: Path) -> files.Look:
    try:
        status = dest.stat()
    except FileNotFoundError:
        return files.Look(0o755, os.geteuid(), os.getegid())
    return files.Look(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


MODULE = Module(
    "directory",
    actions={"ArtifactInstall": install, "ArtifactRollback": rollback, "Cleanup": cleanup},
    supports_rollback=lambda _: True,
)
