"""A directory of state scripts: which of its files a phase runs, and whether any may run at all."""

import logging
import os
import re
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from device_agent.core.scripts import Action, ScriptState
from device_agent.errors import InstallFailed
from device_agent.process import printable
from schemas.wire.report import FailureClass

VERSION = "version"

_VERSIONS = (b"2", b"3")
_VERSION_LIMIT = 64  # bytes
_ENTRIES = 4096  # in one directory
_NAME = re.compile(r"([A-Za-z]+)_([A-Za-z]+)_[0-9][0-9](?:_\S+)?", re.ASCII)

log = logging.getLogger(__name__)


def find(directory: Path, state: ScriptState, action: Action) -> tuple[Path, ...]:
    """Return the scripts of `state` and `action`, in the order in which they run.

    Without a directory there are none. Links may lead anywhere, as in Mender: an image is built
    with them. As there, what has a script's name but cannot be executed is left out: it is logged.
    Raises InstallFailed for a version that is not ours and for a directory that cannot be read.
    """
    expect_version(directory)
    found = [directory / name for name in _names(directory) if _is_of(name, (state,), (action,))]
    return tuple(path for path in sorted(found, key=os.fsencode) if _is_executable(path))


def has_any(directory: Path, states: Collection[ScriptState]) -> bool:
    """Say whether a script of `states` lies there, of whatever version; for none of them it does
    not matter. Raises InstallFailed for a directory that cannot be read."""
    return any(_is_of(name, states, tuple(Action)) for name in _names(directory))


def expect_version(directory: Path) -> None:
    """Raise InstallFailed unless the scripts' version is 2 or 3, or is not given."""
    path = directory / VERSION
    try:
        version = _first_word(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed(path, f"cannot be read: {error.strerror}") from error
    if version not in _VERSIONS:
        raise _failed(
            path, f"says {printable(version, 20)!r}; scripts of version 2 or 3 can be run"
        )


def shown(path: Path) -> str:
    """Return `path` for people: names in an image may hold any byte."""
    return printable(os.fsencode(path), 300)


def _first_word(path: Path) -> bytes:
    """Return what Mender takes for the version. A pipe in its place must not hold us up."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return next(iter(os.read(descriptor, _VERSION_LIMIT).split()), b"")
    finally:
        os.close(descriptor)


def _names(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            names = [entry.name for entry in islice(entries, _ENTRIES + 1)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _failed(directory, f"cannot be read: {error.strerror}") from error
    if len(names) > _ENTRIES:
        raise _failed(directory, f"holds more than {_ENTRIES} files")
    return names


def _is_of(name: str, states: Collection[str], actions: Collection[str]) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and match[1] in states and match[2] in actions


def _is_executable(path: Path) -> bool:
    if path.is_file() and os.access(path, os.X_OK):
        return True
    log.warning(
        "%s is not run: it is not an executable file",
        shown(path),
        extra={"state_script": shown(path)},
    )
    return False


def _failed(path: Path, what: str) -> InstallFailed:
    return InstallFailed(f"state scripts: {shown(path)} {what}", FailureClass.SCRIPT)
