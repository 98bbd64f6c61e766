"""The scripts that artifacts brought: kept on the disk until their deployment is over."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from device_agent import durable
from device_agent.errors import UpdateRejected
from device_agent.scripts.directory import VERSION
from schemas.artifact import names
from schemas.artifact.header import Script
from schemas.refusal import Code, Refusal
from schemas.wire.report import FailureClass

_COMPONENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def folder(root: Path, component: str) -> Path:
    """Return where the scripts of `component` lie. Raises UpdateRejected (E_PATH)."""
    if not _COMPONENT.fullmatch(component):
        raise _refused(Code.PATH, f"{component[:100]!r} is not a component's name")
    return root / component


def keep(root: Path, component: str, scripts: Sequence[Script]) -> None:
    """Make the scripts of `component` exactly `scripts`. After a power cut they are the old ones,
    none, or the new ones, never some of them.

    Raises UpdateRejected (E_PATH, E_MODULE) before anything is written, and OSError.
    """
    place = folder(root, component)
    contents = {_checked(script.name): script.content for script in scripts}
    fresh = root / f".{component}.new"
    durable.make_directory(root)
    _remove(fresh)
    fresh.mkdir(mode=0o700)
    durable.write(fresh / VERSION, b"3")
    for name, content in contents.items():
        durable.write(fresh / name, content, mode=0o700)
    _remove(place)
    fresh.rename(place)
    durable.sync_directory(root)


def clear(root: Path) -> None:
    """Remove the scripts of every component. Again: no effect. Raises OSError."""
    if not root.is_dir():
        return
    for path in sorted(root.iterdir()):
        _remove(path)
    durable.sync_directory(root)


def _checked(name: str) -> str:
    """Return `name`. The artifact's reader has checked it, but here it becomes a path."""
    try:
        return names.script_name(names.SCRIPTS + name)
    except Refusal as refusal:
        raise _refused(refusal.code, refusal.what) from refusal


def _remove(path: Path) -> None:
    """Remove whatever is at `path`. A script may have made anything there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refused(code: Code, message: str) -> UpdateRejected:
    return UpdateRejected(code, message, FailureClass.POLICY)
