"""Finds the program of an Update Module, and refuses everything that is not plainly one."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from device_agent.errors import UpdateRejected
from schemas.refusal import Code
from schemas.wire.report import FailureClass

MENDER_MODULES = Path("/usr/share/mender/modules/v3")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


def find_module(name: str, directories: Sequence[Path]) -> Path:
    """Return the module `name` of the first directory that has it.

    A link may lead to another file of the same directory, not out of it. Raises UpdateRejected
    (E_MODULE).
    """
    if not _NAME.fullmatch(name):
        raise _refused(f"{name[:100]!r} is not a module's name")
    for directory in directories:
        candidate = directory / name
        if not os.path.lexists(candidate):
            continue
        resolved = Path(os.path.realpath(candidate))  # unlike resolve(), bears a loop of links
        if resolved.parent != Path(os.path.realpath(directory)):
            raise _refused(f"{candidate} leads out of its directory")
        if not resolved.is_file() or not os.access(resolved, os.X_OK):
            raise _refused(f"{candidate} is not an executable file")
        return candidate
    places = ", ".join(map(str, directories))
    raise _refused(f"no module {name!r} in {places}; install it, or use another installer")


def _refused(message: str) -> UpdateRejected:
    return UpdateRejected(Code.MODULE, message, FailureClass.PREINSTALL)
