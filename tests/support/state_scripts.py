"""A device with state scripts, and time that passes only as a test says."""

from pathlib import Path

from device_agent.scripts.executor import Limits
from device_agent.scripts.state_scripts import StateScripts
from schemas.artifact.header import Script

TIMEOUT = 20.0  # seconds for one run, unless a test says otherwise


class ScriptDevice:
    """`calls` are the scripts that ran; `waits` the seconds between runs of one that asked.

    On its clock every run lasts `run_lasts` seconds, and every wait `oversleep` longer than asked.
    """

    def __init__(self, root: Path) -> None:
        self.image, self.artifacts = root / "image", root / "state" / "scripts"
        self.record, self.waits = root / "record", list[float]()
        self.record.mkdir()
        self.run_lasts = self.oversleep = 0.0
        self._slept = 0.0

    def scripts(
        self,
        *,
        timeout: float = TIMEOUT,
        retry_interval: float = 60.0,
        retry_timeout: float = 1800.0,
        termination: float = 0.2,
    ) -> StateScripts:
        return StateScripts(
            self.image,
            self.artifacts,
            environment={"PATH": "/usr/bin:/bin", "RECORD": str(self.record)},
            limits=Limits(timeout, retry_interval, retry_timeout, termination),
            sleep=self._sleep,
            monotonic=lambda: 1000.0 + self._slept + self.run_lasts * len(self.calls),
        )

    @property
    def calls(self) -> list[str]:
        path = self.record / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def give_image(self, *names: str, body: str = "") -> None:
        """Put scripts that run `body` into the image."""
        self.image.mkdir(exist_ok=True)
        for name in names:
            path = self.image / name
            path.write_bytes(recording(name, body).content)
            path.chmod(0o755)

    def say_version(self, text: str) -> None:
        self.image.mkdir(exist_ok=True)
        (self.image / "version").write_text(text)

    def give_artifact(self, component: str, *names: str, body: str = "") -> None:
        """Keep scripts that run `body` as those of `component`."""
        self.scripts().keep(component, [recording(name, body) for name in names])

    def runs(self, name: str) -> int:
        return self.calls.count(name)

    def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._slept += seconds + self.oversleep


def recording(name: str, body: str = "") -> Script:
    """Return a script that records its name and arguments, then runs the shell's `body`."""
    text = f'#!/bin/sh\necho "${{0##*/}}${{*:+ $*}}" >>"$RECORD/calls"\n{body}\n'
    return Script(name, text.encode())


def answering(*statuses: int) -> str:
    """Return what a script does that exits with each of `statuses` in turn, by its own count."""
    cases = "".join(f"{number}) exit {status};; " for number, status in enumerate(statuses, 1))
    return f'case "$(grep -cx "${{0##*/}}" "$RECORD/calls")" in {cases}esac'
