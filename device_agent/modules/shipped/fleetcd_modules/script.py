"""The Update Module `script`: runs the payload's files, in the order of their names.

Every file of the payload is a script, so there is none that could take back what the others did.
"""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

from .protocol import Module, Refused, Tree

_NOTE = "done"
_TIMEOUT = 24 * 3600.0  # seconds a script; the agent's own limit for the call ends it before


def install(tree: Tree) -> None:
    """Run the scripts that have not ended well yet. Raises Refused at the first that fails."""
    scripts = sorted(path for path in tree.files.iterdir() if path.is_file())
    if not scripts:
        raise Refused("the payload has no script; add one to the artifact")
    done: list[str] = tree.note(_NOTE) or []
    for script in scripts:
        if script.name not in done:
            _run(script, tree)
            done.append(script.name)
            tree.write_note(_NOTE, done)


def _run(script: Path, tree: Tree) -> None:
    script.chmod(0o700)
    try:
        status = _status([str(script)], tree)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise Refused(f"{script.name} cannot start: {error.strerror}") from error
        status = _status(["/bin/sh", str(script)], tree)  # as a shell does without a `#!` line
    if status < 0:
        raise Refused(f"{script.name} was killed by signal {-status}")
    if status > 0:
        raise Refused(f"{script.name} exited with status {status}; its own words are above")


def _status(arguments: list[str], tree: Tree) -> int:
    with subprocess.Popen(arguments, cwd=tree.path, stdin=subprocess.DEVNULL) as child:
        try:
            return child.wait(_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            child.kill()
            raise Refused(f"{arguments[-1]} did not end in {_TIMEOUT:.0f} s") from error


MODULE = Module(
    "script",
    actions={"ArtifactInstall": install},
    supports_rollback=lambda _: False,
)
