"""The work of an update by hand, step by step, and what each step makes known.

The order of every effect on the device is visible here; which step follows is data, in
core/standalone.py.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from device_agent.artifact.policy import ArtifactPolicy
from device_agent.artifact.provides import provides_after
from device_agent.artifact.reader import Header
from device_agent.core.component import Component, RebootNeed
from device_agent.core.record import INCONSISTENT
from device_agent.core.scripts import OnFailure
from device_agent.core.standalone import (
    GOES_ON_UNSAVED,
    NOT_DOWNLOADED,
    TRANSITIONS,
    Event,
    Fact,
    Facts,
    StandaloneRecord,
    Step,
    artifact_component,
    left,
    saved,
    stops,
    to_enter,
)
from device_agent.errors import AgentError, TransientError
from device_agent.journal import Journal
from device_agent.ports import Action, Installer, Scripts, ScriptState
from device_agent.standalone_source import OpenedArtifact
from schemas.wire.decode import encode

MAX_STEPS = 20  # more than the table's longest way

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class World:
    """What an update by hand needs. `say` gets the lines for standard output, without newline.

    `prepare` makes the modules' trees. `policy` says whose signature an artifact needs,
    `device_type` is what artifacts depend on.
    """

    installer: Installer
    scripts: Scripts
    prepare: Callable[[Header], None]
    policy: ArtifactPolicy
    device_type: str
    say: Callable[[str], None]


class Run:
    """One command's way through the steps. `facts` are what it found out on the way."""

    def __init__(
        self,
        journal: Journal,
        world: World,
        record: StandaloneRecord,
        stop_before: Collection[Step],
        opened: OpenedArtifact | None = None,
    ) -> None:
        self._journal, self._world, self._record = journal, world, record
        self._stop_before, self._opened = stop_before, opened
        self.facts: Facts = record.facts

    def until_exit(self, step: Step, known: Facts = frozenset()) -> Facts:
        """Go from `step` to the end, or to where a person or the next command takes over."""
        self.facts |= known
        for _ in range(MAX_STEPS):
            if step is Step.EXIT:
                break
            step = self._next(step)
        if self._journal.standalone() is not None and self._record.failed:
            self._save(left(self._record))
        return self.facts

    def _next(self, step: Step) -> Step:
        """Journal that `step` begins, do its work, and return what follows."""
        for point in to_enter(step, self._record.point):
            written = self._save(saved(self._record, point, self.facts))
            if not written and step not in GOES_ON_UNSAVED:
                return TRANSITIONS[step][self._unsaved(step)]
            if stops(step, point, self._stop_before):
                return Step.EXIT
        return TRANSITIONS[step][self._work(step)]

    def _unsaved(self, step: Step) -> Event:
        if step is Step.INSTALL:
            self.facts |= {Fact.UNTOUCHED}
        if step is Step.AFTER_COMMIT:
            self._error_scripts(ScriptState.COMMIT)
        return Event.UNSAVED

    def _save(self, record: StandaloneRecord) -> bool:
        self._record = record
        try:
            self._journal.keep_standalone(encode(record))
        except TransientError as error:
            log.error("%s", error)
            self.facts |= {Fact.FAILED}
            return False
        return True

    def _work(self, step: Step) -> Event:
        match step:
            case Step.DOWNLOAD:
                return self._attempt(ScriptState.DOWNLOAD, self._download, NOT_DOWNLOADED)
            case Step.INSTALL:
                failed = frozenset({Fact.INSTALL_FAILED})
                return self._attempt(ScriptState.INSTALL, self._install, failed)
            case Step.ASK:
                return self._ask()
            case Step.COMMIT:
                return self._attempt(
                    ScriptState.COMMIT, self._commit, frozenset({Fact.COMMIT_FAILED})
                )
            case Step.AFTER_COMMIT:
                return self._after_commit()
            case Step.MAY_ROLL_BACK:
                return self._may_roll_back()
            case Step.ROLLBACK:
                return self._roll_back()
            case Step.FAILURE:
                return self._tell_failure()
            case _:
                return self._clean_up()

    def _attempt(self, state: ScriptState, work: Callable[[], None], failed: Facts) -> Event:
        """Do `work`; when it fails, run the Error scripts of `state` and note what `failed`."""
        try:
            work()
        except AgentError as error:
            log.error("%s", error)
            self._error_scripts(state)
            self.facts |= failed | {Fact.FAILED}
            return Event.FAILURE
        return Event.SUCCESS

    def _download(self) -> None:
        self._scripts(ScriptState.DOWNLOAD, Action.ENTER)
        assert self._opened  # noqa: S101 - only install() begins here
        self._world.installer.download(artifact_component(), self._opened)
        self._scripts(ScriptState.DOWNLOAD, Action.LEAVE)
        self.facts |= {Fact.DOWNLOADED}

    def _install(self) -> None:
        self._scripts(ScriptState.INSTALL, Action.ENTER)
        for number, component in enumerate(self._record.components, start=1):
            self._record = replace(self._record, begun=number)
            if number > 1:  # the first one is known to have begun by the point IN_INSTALL
                self._journal.keep_standalone(encode(self._record))
            self._world.installer.install(component)
        self._scripts(ScriptState.INSTALL, Action.LEAVE)
        self.facts |= {Fact.INSTALLED}

    def _ask(self) -> Event:
        installer, components = self._world.installer, self._record.components
        try:
            needs = [installer.reboot_need(component) for component in components]
            if any(need is not RebootNeed.NO for need in needs):
                self.facts |= {Fact.REBOOT_WANTED}
            if self._supports_rollback(components):
                return Event.PERSON
        except AgentError as error:
            log.error("%s", error)
            self.facts |= {Fact.FAILED}
            return Event.FAILURE
        self.facts |= {Fact.COMMITS_AT_ONCE}
        return Event.SUCCESS

    def _commit(self) -> None:
        self._scripts(ScriptState.COMMIT, Action.ENTER)
        for component in self._record.components:
            self._world.installer.commit(component)
        self.facts |= {Fact.COMMITTED}

    def _after_commit(self) -> Event:
        """The way back is closed, so that Error scripts would come too late."""
        try:
            self._scripts(ScriptState.COMMIT, Action.LEAVE, OnFailure.GO_ON)
        except AgentError as error:
            log.error("%s", error)
            self.facts |= {Fact.COMMIT_FAILED, Fact.FAILED, Fact.AFTER_COMMIT_FAILED}
            return Event.FAILURE
        return Event.SUCCESS

    def _may_roll_back(self) -> Event:
        try:
            if self._supports_rollback(self._record.undo):
                return Event.SUCCESS
        except AgentError as error:
            log.error("%s", error)
            self.facts |= {Fact.FAILED, Fact.ROLLBACK_FAILED}
            return Event.FAILURE
        asked_by_hand = not self.facts & {Fact.FAILED, Fact.INTERRUPTED}
        self.facts |= {Fact.FAILED, Fact.NO_ROLLBACK}
        return Event.PERSON if asked_by_hand else Event.NO_ROLLBACK

    def _roll_back(self) -> Event:
        enter = partial(self._scripts, ScriptState.ROLLBACK, Action.ENTER, OnFailure.GO_ON)
        self._on_the_way_back(enter)
        done = [
            self._on_the_way_back(partial(self._world.installer.rollback, one))
            for one in self._record.undo
        ]
        if all(done):
            self.facts |= {Fact.ROLLED_BACK}
        self._last_scripts(ScriptState.ROLLBACK)
        return Event.SUCCESS if all(done) else Event.FAILURE

    def _tell_failure(self) -> Event:
        enter = partial(self._scripts, ScriptState.FAILURE, Action.ENTER, OnFailure.GO_ON)
        self._on_the_way_back(enter)
        done = [
            self._on_the_way_back(partial(self._world.installer.failure, one))
            for one in reversed(self._record.undo)
        ]
        self._last_scripts(ScriptState.FAILURE)
        return Event.SUCCESS if all(done) else Event.FAILURE

    def _clean_up(self) -> Event:
        """Drop what the update no longer needs; what it leaves behind is no failure of its own."""
        for component in self._record.components:
            try:
                self._world.installer.cleanup(component)
            except AgentError as error:
                log.warning("the update itself is over, but its Cleanup failed: %s", error)
                self.facts |= {Fact.CLEANUP_FAILED}
        try:
            self._journal.drop_standalone(self._provides())
        except TransientError as error:
            log.error("%s", error)
            self.facts |= {Fact.FAILED, Fact.ROLLBACK_FAILED}
            return Event.FAILURE
        with suppress(OSError):  # they are removed before the next update, too
            self._world.scripts.clear()
        self.facts |= {Fact.CLEANED}
        return Event.SUCCESS

    def _provides(self) -> dict[str, str] | None:
        """Return what the device provides from now on, None for what it did before."""
        record = self._record
        if record.rolled_back:
            return None
        name = record.contents.name
        if record.doubtful:
            name += INCONSISTENT
            log.error("in which state the update left the device nobody knows: it is %s now", name)
        known = replace(record.contents, name=name)
        return dict(provides_after(known, self._journal.provides()))

    def _supports_rollback(self, components: Sequence[Component]) -> bool:
        return all(self._world.installer.supports_rollback(one) for one in components)

    def _on_the_way_back(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except AgentError as error:
            log.error("%s", error)
            self.facts |= {Fact.FAILED, Fact.ROLLBACK_FAILED}
            return False
        return True

    def _last_scripts(self, state: ScriptState) -> None:
        try:
            self._scripts(state, Action.LEAVE, OnFailure.GO_ON)
        except AgentError as error:
            log.error("%s", error)
            self.facts |= {Fact.SCRIPT_FAILED}

    def _error_scripts(self, state: ScriptState) -> None:
        try:
            self._scripts(state, Action.ERROR)
        except AgentError as error:
            log.warning("after the failure: %s", error)

    def _scripts(
        self, state: ScriptState, action: Action, on_failure: OnFailure = OnFailure.STOP
    ) -> None:
        names = [component.name for component in self._record.components]
        self._world.scripts.run(state, action, names, on_failure)
