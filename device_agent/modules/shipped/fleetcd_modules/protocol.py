"""The module's side of the Update Module protocol, version 3: calls, answers, and the tree.

Source: Mender's Documentation/update-modules-v3-file-api.md.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files

WORD_LIMIT = 4096  # bytes of a payload's file that holds one word


class Refused(Exception):
    """The call has failed. The text says why, and what to do."""


class Tree:
    """The directory that an update's calls share. `tmp` lives until after Cleanup."""

    def __init__(self, path: Path) -> None:
        self.path, self.files, self.tmp = path, path / "files", path / "tmp"

    def word(self, name: str) -> str:
        """Return the one line of the payload's file `name`. Raises Refused."""
        try:
            with (self.files / name).open("rb") as file:
                content = file.read(WORD_LIMIT + 1)
        except FileNotFoundError as error:
            raise Refused(f"the payload has no file {name!r}; add it to the artifact") from error
        word = content.decode("utf-8", "surrogateescape").rstrip("\n")
        if not word or len(content) > WORD_LIMIT or any(ord(sign) < 32 for sign in word):
            raise Refused(f"the payload's file {name!r} must hold one line of text")
        return word

    def note(self, name: str) -> Any:
        """Return what write_note() was given under `name`, None without such a note."""
        try:
            return json.loads((self.tmp / f"{name}.json").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    def write_note(self, name: str, value: object) -> None:
        """Remember `value` for later calls, on the disk before this returns."""
        files.write(self.tmp / f"{name}.json", json.dumps(value).encode("ascii"))


@dataclass(frozen=True)
class Module:
    """A module: what it does in each call, and whether it can take that back.

    None of ours reboots or wants sizes. A call that is not in `actions` is silent success, as the
    protocol wants it.
    """

    name: str
    actions: Mapping[str, Callable[[Tree], None]]
    supports_rollback: Callable[[Tree], bool]

    def run(self, arguments: Sequence[str]) -> int:
        """Make the call of a command line. Returns the exit status."""
        if len(arguments) != 3:
            sys.stderr.write(f"usage: {self.name} CALL TREE (Update Module protocol 3)\n")
            return 2
        call, tree = arguments[1], Tree(Path(arguments[2]))
        os.umask(0o022)  # what is made for others to read must not depend on the agent's
        try:
            if call in ("ProvidePayloadFileSizes", "NeedsArtifactReboot"):
                sys.stdout.write("No\n")
            elif call == "SupportsRollback":
                sys.stdout.write("Yes\n" if self.supports_rollback(tree) else "No\n")
            elif call in self.actions:
                self.actions[call](tree)
        except (Refused, OSError) as error:
            sys.stderr.write(f"{self.name}: {call}: {error}\n")
            return 1
        return 0
