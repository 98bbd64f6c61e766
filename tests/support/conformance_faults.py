"""Programs that note that they were called and then go wrong as they are told: the Update Module
and the state scripts of conformance cases."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from shlex import quote

QUERIES = ("SupportsRollback", "NeedsArtifactReboot")  # asked, but never noted


class Repeat(StrEnum):
    """How often a fault strikes."""

    ONCE = "once"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Faults:
    """Names of module calls and state scripts: `fail` exits with an error, `kill` kills the agent,
    `hang` never ends. `status` gives single ones an exit status of their own."""

    fail: frozenset[str] = frozenset()
    fail_repeat: Repeat = Repeat.ALWAYS
    kill: frozenset[str] = frozenset()
    kill_repeat: Repeat = Repeat.ONCE
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
            "kill": _patterns(faults.kill),
            "fail": _patterns(faults.fail),
            "hang": _patterns(faults.hang),
            "kill_once": _condition(faults.kill_repeat),
            "fail_once": _condition(faults.fail_repeat),
            "status": "\n".join(
                f"    {name}) exit {code};;" for name, code in faults.status.items()
            ),
        }


def _patterns(names: Iterable[str]) -> str:
    return "|".join(sorted(names)) or "nothing"


def _condition(repeat: Repeat) -> str:
    return "first" if repeat is Repeat.ONCE else "true"


_PROGRAM = """#!/bin/sh
call={call}
first() {{ [ ! -e {marks}/"$call.$1" ] && : > {marks}/"$call.$1"; }}
case "$call" in
    SupportsRollback|NeedsArtifactReboot) ;;
    *) echo "$call" >> {log} ;;
esac
{extra}
case "$call" in {kill}) {kill_once} killed && kill -9 $PPID && sleep 5;; esac
case "$call" in {fail}) {fail_once} failed && exit 1;; esac
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
