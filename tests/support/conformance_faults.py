"""Programs that note that they were called and then go wrong as they are told: the Update Module
and the state scripts of conformance cases."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from shlex import quote

NOBODY = "nobody"  # a pattern for no call
QUERIES = ("SupportsRollback", "NeedsArtifactReboot")  # asked, but never noted


class Repeat(StrEnum):
    """How often a fault strikes."""

    ONCE = "once"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Faults:
    """By names of module calls and state scripts: `fail` exits with an error, `kill` kills the
    agent, `hang` never ends, `status` exits with a status of its own."""

    fail: Mapping[str, Repeat] = field(default_factory=dict)
    kill: Mapping[str, Repeat] = field(default_factory=dict)
    hang: frozenset[str] = frozenset()
    status: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a module answers to the queries; the empty text is no answer at all."""

    supports_rollback: str = "Yes"
    needs_reboot: str = "No"
    file_sizes: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """Where calls are noted, one a line, and where programs remember that a fault has struck."""

    root: Path

    @property
    def path(self) -> Path:
        return self.root / "calls.log"

    def calls(self) -> tuple[str, ...]:
        return tuple(self.path.read_text().split()) if self.path.exists() else ()

    def program(self, path: Path, call: str, faults: Faults, extra: str = "") -> None:
        """Write a program. `call` is the shell text that names the call; `extra` is done last."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_PROGRAM.format(call=call, **self._words(faults), extra=extra))
        path.chmod(0o755)

    def module(self, path: Path, answers: Answers, faults: Faults, extra: str = "") -> None:
        answering = _ANSWERS.format(
            rollback=answers.supports_rollback,
            reboot=answers.needs_reboot,
            sizes=answers.file_sizes,
        )
        self.program(path, '"$1"', faults, answering + extra)

    def script(self, path: Path, faults: Faults, extra: str = "") -> None:
        self.program(path, quote(path.name), faults, extra)

    def _words(self, faults: Faults) -> Mapping[str, str]:
        marks = self.root / "struck"
        marks.mkdir(parents=True, exist_ok=True)
        return {
            "log": quote(str(self.path)),
            "marks": quote(str(marks)),
            "kill_once": _patterns(faults.kill, Repeat.ONCE),
            "kill_always": _patterns(faults.kill, Repeat.ALWAYS),
            "fail_once": _patterns(faults.fail, Repeat.ONCE),
            "fail_always": _patterns(faults.fail, Repeat.ALWAYS),
            "hang": "|".join(sorted(faults.hang)) or NOBODY,
            "status": "\n".join(
                f"    {name}) exit {code};;" for name, code in faults.status.items()
            ),
        }


def _patterns(faults: Mapping[str, Repeat], repeat: Repeat) -> str:
    return "|".join(sorted(name for name in faults if faults[name] is repeat)) or NOBODY


_PROGRAM = """#!/bin/sh
call={call}
first() {{ [ ! -e {marks}/"$call.$1" ] && : > {marks}/"$call.$1"; }}
case "$call" in
    SupportsRollback|NeedsArtifactReboot) ;;
    *) echo "$call" >> {log} ;;
esac
{extra}
die() {{ kill -9 $PPID; sleep 5; }}
case "$call" in {kill_always}) die;; {kill_once}) first killed && die;; esac
case "$call" in {fail_always}) exit 1;; {fail_once}) first failed && exit 1;; esac
case "$call" in {hang}) exec sleep 60;; esac
case "$call" in
{status}
    *) exit 0;;
esac
"""

_ANSWERS = """
case "$1" in
    SupportsRollback) echo "{rollback}";;
    NeedsArtifactReboot) echo "{reboot}";;
    ProvidePayloadFileSizes) echo "{sizes}";;
esac
"""
