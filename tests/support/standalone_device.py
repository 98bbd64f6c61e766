"""A device that is updated by hand: the real command line over modules and scripts in shell."""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from device_agent.cli import main
from device_agent.journal import Journal
from tests.support.artifacts import Build, as_json, member, tar

MODULE = """#!/bin/sh
tree="${2%/tree}"
case "$1" in
NeedsArtifactReboot|SupportsRollback) ;;
*) echo "$1" >> "$RECORD/calls"; echo "${tree##*/} $1" >> "$RECORD/parts" ;;
esac
if [ -f "$RECORD/do-$1" ]; then . "$RECORD/do-$1"; fi
"""


@dataclass(frozen=True)
class ByHand(Build):
    """An artifact `name` whose state scripts note their names and exit as `bodies` says."""

    name: str = "new"
    provides: Mapping[str, str] = field(default_factory=lambda: {"app.version": "new"})
    clears: tuple[str, ...] | None = ("app.*",)
    device_type: str = "kiosk"
    bodies: Mapping[str, int] = field(default_factory=dict)

    def header_archive(self) -> bytes:
        info = {
            "payloads": [{"type": kind} for kind in self.types()],
            "artifact_provides": {"artifact_name": self.name},
            "artifact_depends": {"device_type": [self.device_type]},
        }
        members = [member("header-info", as_json(info))]
        for script, status in self.bodies.items():
            members.append(member(f"scripts/{script}", noting(script, status).encode()))
        for index, kind in enumerate(self.types()):
            document: dict[str, object] = {"type": kind}
            if kind is not None:
                document |= {"artifact_provides": dict(self.provides)}
                if self.clears is not None:
                    document |= {"clears_artifact_provides": list(self.clears)}
            members.append(member(f"headers/{index:04}/type-info", as_json(document)))
        return tar(*members)


def noting(script: str, status: int) -> str:
    return (
        f'#!/bin/sh\necho {script} >> "$RECORD/calls"\n'
        f'if [ -f "$RECORD/do-{script}" ]; then . "$RECORD/do-{script}"; fi\nexit {status}\n'
    )


class StandaloneDevice:
    """`run` is a command line; `calls` are the modules' calls and the scripts, but no queries."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.record, self.state = root, root / "record", root / "state"
        self.modules, self.scripts = root / "modules", root / "scripts"
        for directory in (self.record, self.modules, self.scripts):
            directory.mkdir()
        self.config = root / "agent.toml"
        self.configure()
        self.module("single-file")
        patch.setenv("RECORD", str(self.record))
        patch.setattr(os, "fsync", lambda _: None)  # no power is cut here, and a disk is slow

    def configure(self, artifacts: str = 'unsigned_bootstrap = "accept"\n') -> None:
        self.config.write_text(
            '[device]\nname = "bench-1"\nstate = "state"\nfacts = {hardware = "kiosk"}\n'
            '[modules]\ndirectories = ["modules"]\ntimeout = 20.0\n'
            '[scripts]\ndirectory = "scripts"\n'
            f"[artifacts]\n{artifacts}"
        )

    def module(self, name: str) -> None:
        path = self.modules / name
        path.write_text(MODULE)
        path.chmod(0o755)

    def does(self, call: str, text: str) -> None:
        """Let the modules do `text`, in shell, when they are called to `call`."""
        (self.record / f"do-{call}").write_text(f"{text}\n")

    def does_nothing_special(self) -> None:
        for path in self.record.glob("do-*"):
            path.unlink()

    def fails(self, *calls: str) -> None:
        for call in calls:
            self.does(call, "exit 1")

    def can_roll_back(self) -> None:
        self.does("SupportsRollback", "echo Yes")

    def image_script(self, name: str, status: int = 0) -> None:
        path = self.scripts / name
        path.write_text(noting(name, status))
        path.chmod(0o755)

    def artifact(self, build: Build | None = None, name: str = "new.mender") -> Path:
        path = self.root / name
        path.write_bytes((build or ByHand()).bytes())
        return path

    def run(self, *arguments: object) -> int:
        """Run a command and return its exit code; a usage error is one, too."""
        words = [str(argument) for argument in arguments]
        try:
            return main([*words, "--config", str(self.config)])
        except SystemExit as leaving:
            assert isinstance(leaving.code, int)
            return leaving.code

    @property
    def calls(self) -> list[str]:
        return self._lines("calls")

    @property
    def parts(self) -> list[str]:
        """The modules' calls, each with the payload's component."""
        return self._lines("parts")

    @property
    def journal(self) -> Journal:
        self.state.mkdir(exist_ok=True)
        return Journal(self.state / "journal.db", id="0" * 32)

    @property
    def provides(self) -> Mapping[str, str]:
        return self.journal.provides()

    @property
    def tree(self) -> Path:
        return self.state / "modules" / "v3" / "payloads" / "0000" / "tree"

    def has(self, name: str, **provides: str) -> None:
        """Let the device have an artifact from before."""
        self.journal.drop_standalone({"artifact_name": name, **provides})

    def _lines(self, name: str) -> list[str]:
        path = self.record / name
        return path.read_text().splitlines() if path.exists() else []

    def killed(self, *arguments: object) -> bool:
        """Run a command in a process of its own; say whether it was killed."""
        child = os.fork()
        if child == 0:
            try:
                os._exit(self.run(*arguments))
            finally:
                os._exit(99)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    def kills(self, call: str) -> None:
        """Let the module or script `call` kill the agent that runs it, the first time."""
        self.does(call, f'rm "$RECORD/do-{call}"; kill -9 $PPID; exit 0')
