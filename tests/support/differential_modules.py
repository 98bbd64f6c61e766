"""Update Modules and state scripts that note each call, and do what a test planned."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

WRAPPED = ("single-file", "directory", "deb", "script")
"""Modules that Debian's package brings, and we too; they are called unmodified."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the module `recorder` answers, and the calls and scripts that fail."""

    rollback: str = "Yes"
    reboot: str = "No"
    failing: tuple[str, ...] = ()

    def shell(self) -> str:
        failing = "|".join((*self.failing, "none"))
        return f"""
case "$1" in
    SupportsRollback) printf '{self.rollback}\\n' ;;
    NeedsArtifactReboot) printf '{self.reboot}\\n' ;;
    {failing}) exit 1 ;;
esac
exit 0
"""


def write_modules(place: Path, originals: Path, common: Path, plan: Plan) -> None:
    """Write wrappers of the modules in `originals`, and modules for tests, into `place`.

    All note their calls in `common`/calls.
    """
    shutil.copytree(originals, place / "originals")
    for name in WRAPPED:
        path = f'$(dirname "$0")/originals/{name}'
        program(place / name, f'{_note(common, name)}\nexec "{path}" "$@"\n')
    copy = f'rm -rf "{common}/tree.$1"; cp -a "$2" "{common}/tree.$1"\n'
    program(place / "recorder", _note(common, "recorder") + copy + plan.shell())
    program(place / "streaming", _note(common, "streaming") + _stream(common) + plan.shell())


def write_scripts(place: Path, common: Path, states: Iterable[str], failing: str = "") -> None:
    """Write a script for each of `states` and each action into `place`; `failing` exits with 1."""
    (place / "version").write_text("3")
    for state in states:
        for action in ("Enter", "Leave", "Error"):
            for number in ("00", "10_again"):
                name = f"{state}_{action}_{number}"
                program(
                    place / name,
                    f'#!/bin/sh\necho "state script {name}$*" >>"{common}/calls"\n'
                    f"exit {int(name == failing)}\n",
                )


def _note(common: Path, name: str) -> str:
    return f'#!/bin/sh\necho "{name} $1" >>"{common}/calls"\n'


def _stream(common: Path) -> str:
    """Write each stream to the target, and note what stream-next said."""
    return f"""
if [ "$1" = Download ]; then
    while file="$(cat stream-next)"; [ -n "$file" ]; do
        echo "streaming reads $file" >>"{common}/calls"
        cat "$file" >"{common}/target/$(basename "$file")" || exit 1
    done
fi
"""


def program(path: Path, text: str) -> None:
    """Write an executable file."""
    path.write_text(text)
    path.chmod(0o755)
