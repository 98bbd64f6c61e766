"""The mode state-script: order, versions, retries and time limits of state scripts."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device_agent.core.scripts import Action, ScriptState
from device_agent.scripts.executor import Limits
from device_agent.scripts.state_scripts import StateScripts
from tests.conformance.case import Case, Facts
from tests.conformance.words import prose

LIMITS = Limits(timeout=20.0, retry_interval=0.02, retry_timeout=5.0, termination=1.0)  # seconds
SHORT_OF_PATIENCE = Limits(timeout=20.0, retry_interval=0.02, retry_timeout=0.3, termination=1.0)
SHORT_OF_TIME = Limits(timeout=0.3, retry_interval=0.02, retry_timeout=5.0, termination=1.0)

_ASKS_FIVE_TIMES = """
echo again >> "$0.runs"
[ "$(wc -l < "$0.runs")" -gt 5 ] || exit 21
"""


@dataclass(frozen=True, slots=True)
class _Image:
    """An image's scripts directory in `root`. Each script first notes its name."""

    root: Path

    @property
    def directory(self) -> Path:
        return self.root / "scripts"

    def script(self, name: str, text: str = "exit 0") -> None:
        self.directory.mkdir(exist_ok=True)
        path = self.directory / name
        path.write_text(f'#!/bin/sh\necho {name} >> "{self.root}/log"\n{text}\n')
        path.chmod(0o755)

    def version(self, text: str) -> None:
        self.directory.mkdir(exist_ok=True)
        (self.directory / "version").write_text(text)

    def run(self, action: Action = Action.ENTER, limits: Limits = LIMITS) -> None:
        StateScripts(
            self.directory,
            self.root / "artifacts",
            environment={"PATH": "/usr/bin:/bin"},
            limits=limits,
            sleep=time.sleep,
            monotonic=time.monotonic,
        ).run(ScriptState.DOWNLOAD, action, ())

    def ran(self) -> list[str]:
        log = self.root / "log"
        return log.read_text().split() if log.exists() else []


def state_script(case: Case, root: Path) -> tuple[Facts, Facts]:
    experiments = {
        name: lambda experiment=experiment: experiment(_Image(root))
        for name, experiment in _EXPERIMENTS.items()
    }
    return prose(case, experiments)


def _version(text: str | None) -> Callable[[_Image], None]:
    def experiment(image: _Image) -> None:
        if text is not None:
            image.version(text)
        image.script("Download_Enter_00")
        image.run()
        assert image.ran() == ["Download_Enter_00"]

    return experiment


def _sorted(image: _Image) -> None:
    for number in ("02", "01"):
        image.script(f"Download_Enter_{number}")
    image.run()
    assert image.ran() == ["Download_Enter_01", "Download_Enter_02"]


def _stops_at_the_first_failure(image: _Image) -> None:
    image.script("Download_Enter_01")
    image.script("Download_Enter_02", "exit 1")
    image.script("Download_Enter_03")
    try:
        image.run()
    finally:
        assert image.ran() == ["Download_Enter_01", "Download_Enter_02"]


def _error_scripts_all_run(image: _Image) -> None:
    image.script("Download_Error_01", "exit 1")
    image.script("Download_Error_02", "exit 2")
    try:
        image.run(Action.ERROR)
    finally:
        assert image.ran() == ["Download_Error_01", "Download_Error_02"]


def _asking(then: str, limits: Limits = LIMITS) -> Callable[[_Image], None]:
    """Return the run of a script that asks five times to be run again, and then does `then`."""

    def experiment(image: _Image) -> None:
        image.script("Download_Enter_01", f"{_ASKS_FIVE_TIMES}{then}")
        try:
            image.run(limits=limits)
        finally:
            assert len(image.ran()) == 6

    return experiment


def _out_of_patience(text: str) -> Callable[[_Image], None]:
    """Return the run of a script that asks again and again, until the time for that is over."""

    def experiment(image: _Image) -> None:
        image.script("Download_Enter_01", text)
        image.run(limits=SHORT_OF_PATIENCE)

    return experiment


def _asking_then_another(image: _Image) -> None:
    image.script("Download_Enter_01", f"{_ASKS_FIVE_TIMES}exit 0")
    image.script("Download_Enter_03", "exit 42")
    image.run()


def _too_long(image: _Image) -> None:
    image.script("Download_Enter_01", "exec sleep 10")
    image.run(limits=SHORT_OF_TIME)


_EXPERIMENTS: dict[str, Callable[[_Image], None]] = {
    "version_file_missing": _version(None),
    "version_file_foobar": _version("foobar"),
    "version_2": _version("2"),
    "version_3": _version("3"),
    "sorted": _sorted,
    "enter_exit1": _stops_at_the_first_failure,
    "error_scripts_continue": _error_scripts_all_run,
    "retry_then_ok": _asking("exit 0"),
    "retry_then_fail": _asking("exit 1"),
    "retry_timeout_in_run": _out_of_patience(
        '[ -e "$0.ran" ] && exec sleep 10; : > "$0.ran"; exit 21'
    ),
    "retry_timeout_between": _out_of_patience("exit 21"),
    "retry_then_next_fails": _asking_then_another,
    "script_timeout": _too_long,
}
