"""A bootloader in a directory, for containers, the demo and tests (docs/adr/file-bootloader.md)."""

from dataclasses import replace
from pathlib import Path

from device_agent.boot.environment import Environment, load, save
from device_agent.errors import InstallFailed
from device_agent.ports import BootFacts
from schemas.wire.report import FailureClass


class FileBootloader:
    """The agent's side; `firmware.boot()` is the supervisor's. Both work on the same directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def facts(self) -> BootFacts:
        """Raises InstallFailed when neither copy of the variables is intact."""
        now = self._load()
        return BootFacts(
            boot_id=now.boot_id, running=now.running, primary=now.primary, trial=now.trial
        )

    def activate(self, slot: str, *, tries: int) -> None:
        """Raises InstallFailed for the running slot, and while a trial that runs is undecided."""
        now = self._load()
        if tries < 1:
            raise self._refused(f"{tries} tries: a trial needs at least one")
        if now.running != now.primary:
            raise self._refused(f"slot {now.running} runs on trial; commit or cancel it first")
        if slot == now.primary:
            raise self._refused(f"slot {slot} runs and is the fallback: it cannot be on trial")
        self._save(replace(now, trial=slot, tries=tries))

    def commit(self) -> None:
        """Raises InstallFailed when the running trial was cancelled: it is on its way out."""
        now = self._load()
        if now.running == now.primary:
            return
        if now.running != now.trial:
            raise self._refused(f"slot {now.running} is not on trial: it cannot be committed")
        self._save(replace(now, primary=now.running, trial=None, tries=0))

    def cancel(self) -> None:
        now = self._load()
        if now.trial is not None:
            self._save(replace(now, trial=None, tries=0))

    def adopt(self) -> None:
        """Raises InstallFailed while a trial runs: commit() or cancel() decides that one."""
        now = self._load()
        if now.running == now.trial:
            raise self._refused(f"slot {now.running} runs on trial; commit or cancel it")
        if now.running != now.primary:
            self._save(replace(now, primary=now.running, trial=None, tries=0))

    def _load(self) -> Environment:
        variables = load(self._directory)
        if variables is None:
            raise self._refused("no intact boot variables; restart the device to write new ones")
        return variables

    def _save(self, variables: Environment) -> None:
        try:
            save(self._directory, variables)
        except OSError as error:
            raise self._refused(f"cannot save boot variables: {error.strerror}") from error

    def _refused(self, what: str) -> InstallFailed:
        return InstallFailed(f"bootloader in {self._directory}: {what}", FailureClass.REBOOT)
