"""A real board's bootloader: its variables, what they mean, and what runs, put together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from device_agent.boot.scheme import MOST_TRIES, Choice, Scheme
from device_agent.boot.variables import Variables
from device_agent.errors import InstallFailed
from device_agent.ports import BootFacts
from schemas.wire.report import FailureClass


@dataclass(frozen=True, slots=True)
class _Now:
    variables: Mapping[str, str]
    choice: Choice
    running: str


class EnvironmentBootloader:
    """`running` returns the slot that runs, `boot_id` this boot's id; both are asked every time.

    commit(), cancel() and adopt() write even when nothing is to be changed: of several copies of
    the variables, one may have been missed by a power cut.
    """

    def __init__(
        self,
        variables: Variables,
        scheme: Scheme,
        running: Callable[[], str],
        boot_id: Callable[[], str],
    ) -> None:
        self._variables, self._scheme = variables, scheme
        self._running, self._boot_id = running, boot_id

    def facts(self) -> BootFacts:
        """Raises InstallFailed when variables, root or boot id cannot be read or understood."""
        now = self._now()
        return BootFacts(
            boot_id=self._boot_id(),
            running=now.running,
            primary=now.choice.primary,
            trial=now.choice.trial,
        )

    def activate(self, slot: str, *, tries: int) -> None:
        """Raises InstallFailed for the running slot, and while a trial that runs is undecided."""
        if not 1 <= tries <= MOST_TRIES:
            raise _refused(f"{tries} tries: a trial takes 1 to {MOST_TRIES}")
        now = self._now()
        primary = now.choice.primary
        if now.running != primary:
            raise _refused(f"slot {now.running} is not the primary; commit or cancel its trial")
        if slot == primary:
            raise _refused(f"slot {slot} runs and is the fallback: it cannot be on trial")
        self._choose(now, Choice(primary, slot, tries))

    def commit(self) -> None:
        """Raises InstallFailed when the running trial was cancelled: it is on its way out."""
        now = self._now()
        if now.running == now.choice.trial:
            self._choose(now, Choice(now.running))
        elif now.running != now.choice.primary:
            raise _refused(f"slot {now.running} is not on trial: it cannot be committed")
        else:
            self._choose(now, now.choice)

    def cancel(self) -> None:
        now = self._now()
        self._choose(now, Choice(now.choice.primary))

    def adopt(self) -> None:
        """Raises InstallFailed while a trial runs: commit() or cancel() decides that one."""
        now = self._now()
        if now.running == now.choice.trial:
            raise _refused(f"slot {now.running} runs on trial; commit or cancel it")
        settled = now.running == now.choice.primary
        self._choose(now, now.choice if settled else Choice(now.running))

    def _now(self) -> _Now:
        """Read everything. A trial that had its last start and does not run is over: none."""
        variables, running = self._variables.read(), self._running()
        choice = self._scheme.choice(variables)
        if choice.tries == 0 and choice.trial != running:
            choice = Choice(choice.primary)
        return _Now(variables, choice, running)

    def _choose(self, now: _Now, choice: Choice) -> None:
        self._variables.write(self._scheme.changes(now.variables, choice))


def _refused(what: str) -> InstallFailed:
    return InstallFailed(f"bootloader: {what}", FailureClass.REBOOT)
