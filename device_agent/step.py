"""One poll: look, decide, drive, report. Runs in a short-lived child; everything it learns that the
next one needs is in the journal."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from device_agent import driver, fresh, lost_primary
from device_agent.core.record import Problem, Record
from device_agent.core.scripts import Action as ScriptAction
from device_agent.core.scripts import ScriptState
from device_agent.core.selection import NotOnPrimary, select, target_slot
from device_agent.core.states import Gate, State
from device_agent.driver import Decision, Result
from device_agent.errors import AgentError, InstallFailed, TransientError, UpdateRejected
from device_agent.journal import Journal
from device_agent.outlook import report_due
from device_agent.ports import Component, Ports, Trusted
from device_agent.reporter import Reporter, Sent
from device_agent.status import INHIBITED, SLOT_TROUBLE
from schemas.refusal import Refusal
from schemas.resolve import Action, Running, Target, resolve
from schemas.selector import attributes
from schemas.wire.descriptor import Descriptor
from schemas.wire.manifest import Manifest
from schemas.wire.report import FailureClass, Heartbeat
from schemas.wire.report import Outcome as Verdict

RESTING = "resting"  # the journal's note of the boot in which Idle_Enter was run last

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stepped:
    """How a poll ended. `worked`: on a deployment; there may be more to do at once. `trouble`: why
    the tree could not be used, if it could not. WAITING without work: the owner objects to it, or
    the slots are not settled."""

    result: Result
    worked: bool
    trouble: str | None = None


def _no_bootstrap() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Agent:
    """A journal, the world, and who reports; `heartbeat` is the interval in seconds.

    `bootstrap` takes what the image says of itself, and returns why it was refused.
    """

    journal: Journal
    ports: Ports
    reporter: Reporter | None
    heartbeat: float
    version: str
    bootstrap: Callable[[], UpdateRejected | None] = _no_bootstrap

    def poll(self, *, stop_before: State | None = None) -> Stepped:
        """Go on with the deployment at work, or look whether one has to begin."""
        if self.journal.record() is None:
            lost_primary.settle(self.journal, self.ports)
            self._take_bootstrap()
            self._leave_rest()
            trouble = self._sync(stop_before)
            if self.journal.record() is None:
                self._rest()
                result = Result.WAITING if self._held_back() else Result.IDLE
                return Stepped(result, worked=False, trouble=trouble)
            self._report()  # that it starts; its end may be a restart away
        result = driver.run(self.journal, self.ports)
        self._report()
        if result is Result.IDLE:
            self._rest()
        return Stepped(result, worked=True, trouble=self._stuck())

    def _take_bootstrap(self) -> None:
        """Learn what the image says of itself, while nothing else is known."""
        refused = self.bootstrap()
        if refused is not None:
            fresh.report_refusal(refused, self.journal, self.ports)

    def _leave_rest(self) -> None:
        """Idle_Leave; before it Idle_Enter, when this device has not come to rest since it started.

        As in Mender, scripts around the rest that fail keep nothing from going on.
        """
        if self.journal.recall(RESTING) != self.ports.bootloader.facts().boot_id:
            self._run_anyway(ScriptState.IDLE, ScriptAction.ENTER)
        self._run_anyway(ScriptState.IDLE, ScriptAction.LEAVE)
        self.journal.forget(RESTING)

    def _rest(self) -> None:
        self._run_anyway(ScriptState.IDLE, ScriptAction.ENTER)
        self.journal.remember(**{RESTING: self.ports.bootloader.facts().boot_id})

    def _run_anyway(self, state: ScriptState, action: ScriptAction) -> None:
        try:
            self.ports.scripts.run(state, action, ())
        except InstallFailed as error:
            log.warning("%s_%s failed, and nothing depends on it: %s", state, action, error)

    def _sync(self, stop_before: State | None) -> str | None:
        """Look between the Sync scripts, and begin what is wanted; return what went wrong.

        A script that fails costs this poll, never a deployment: the next poll finds it again.
        Without a deployment the report goes out before Sync_Leave, which may end the connection.
        """
        try:
            self.ports.scripts.run(ScriptState.SYNC, ScriptAction.ENTER, ())
            wanted = self._wanted(stop_before)
        except (TransientError, UpdateRejected, InstallFailed) as error:
            self._note_stale()
            return self._out_of_sync(error)
        if wanted is None:
            self._report()
        try:
            self.ports.scripts.run(ScriptState.SYNC, ScriptAction.LEAVE, ())
        except InstallFailed as error:
            return self._out_of_sync(error)
        if wanted is not None:
            driver.begin(self.journal, self.ports, wanted)
        return None

    def _out_of_sync(self, error: AgentError) -> str:
        log.warning("nothing new is done: %s", error)
        self._report()
        self._run_anyway(ScriptState.SYNC, ScriptAction.ERROR)
        return str(error)

    def _held_back(self) -> str | None:
        """Return why nothing begins here, whatever the fleet wants: the owner, or the slots."""
        notes = (self.journal.recall(name) for name in (SLOT_TROUBLE, INHIBITED))
        return "; ".join(filter(None, notes)) or None

    def _stuck(self) -> str | None:
        """Return why a download waits: then the polls, too, become rarer. Not for the owner's sake:
        who objects now may be done in a minute."""
        record, inhibited = self.journal.record(), self.journal.recall(INHIBITED)
        downloads = record is not None and record.state is State.DOWNLOAD and not inhibited
        return record.waiting if record and downloads else None

    def look(self) -> Target:
        """Return what the tree says this device should do. Raises as Trust.refresh()."""
        return self._target(fresh.refresh(self.journal, self.ports))

    def decide(self, decision: Decision) -> Result:
        """Answer a deployment that asks a person. Raises NothingToDecide."""
        result = driver.decide(self.journal, self.ports, decision)
        self._report()
        if result is Result.IDLE:
            self._rest()
        return result

    def _wanted(self, stop_before: State | None) -> Record | None:
        """Return the deployment that has to begin. Raises as Trust.refresh() and descriptor()."""
        trusted = fresh.refresh(self.journal, self.ports)
        self._remember(trusted)
        target = self._target(trusted)
        log.info("%s: %s", target.action, target.reason)
        if trusted.manifest is None or target.action is Action.STAY:
            fresh.forget_objection(self.journal)
            return None
        objection = fresh.ask_owner(Gate.DOWNLOAD, self.journal, self.ports)
        if objection:
            log.info("set %s is not begun: %s", target.set, objection)
            return None
        try:
            return self._record(target, trusted, trusted.manifest, stop_before)
        except NotOnPrimary as error:
            log.warning("set %s is not begun: %s", target.set, error)
            return None

    def _target(self, trusted: Trusted) -> Target:
        if trusted.entry is None:
            return Target(Action.STAY, "unassigned: no entry for this device's key yet")
        if trusted.manifest is None:
            return Target(Action.STAY, f"fleet {trusted.entry.fleet} has no manifest yet")
        view = fresh.device_view(self.journal, self.ports.bootloader.facts())
        now = fresh.time_by(trusted, self.ports)
        return resolve(trusted.manifest, trusted.entry, view, now)

    def _record(
        self, target: Target, trusted: Trusted, manifest: Manifest, stop_before: State | None
    ) -> Record:
        """Return the new deployment; one that cannot be installed here has failed already.

        Raises NotOnPrimary when this boot is in the way.
        """
        assert target.set and target.content  # noqa: S101 - so says CONVERGE
        components: tuple[Component, ...] = ()
        slot, problem = None, None
        descriptors = self._descriptors(target)
        try:
            components = self._select(target, trusted, descriptors)
            slot = target_slot(components, self.ports.bootloader.facts())
        except UpdateRejected as error:
            components = ()
            problem = Problem(Verdict.FAILED, error.failure, error.message, error.code)
        return Record(
            set=target.set,
            content=target.content,
            rollout=target.rollout,
            attempt=target.attempt,
            stage=target.stage,
            components=components,
            slot=slot,
            state=State.CLEANUP if problem else State.DOWNLOAD,
            boot_id="",
            fresh_for=manifest.fresh_for,
            problem=problem,
            stop_before=stop_before,
        )

    def _descriptors(self, target: Target) -> dict[str, Descriptor]:
        """Return what release keys signed. Without it nothing is begun, and nothing has failed."""
        assert target.content  # noqa: S101 - so says CONVERGE
        found = {}
        for name, ref in target.content.components.items():
            try:
                found[name] = self.ports.trust.descriptor(ref)
            except UpdateRejected as error:
                fresh.report_refusal(error, self.journal, self.ports, target)
                raise
        return found

    def _select(
        self, target: Target, trusted: Trusted, descriptors: dict[str, Descriptor]
    ) -> tuple[Component, ...]:
        assert target.content and trusted.entry  # noqa: S101 - so says CONVERGE
        view = fresh.device_view(self.journal, self.ports.bootloader.facts())
        try:
            return select(
                target.content,
                descriptors,
                running=view.running,
                attributes=attributes(trusted.entry.labels, self.ports.attributes),
                floors=self.journal.epochs(),
            )
        except Refusal as refusal:
            raise UpdateRejected(refusal.code, str(refusal), FailureClass.PREINSTALL) from refusal

    def _remember(self, trusted: Trusted) -> None:
        manifest, entry = trusted.manifest, trusted.entry
        self.journal.remember(
            fleet=(entry.fleet if entry else None) or "",
            poll=str(manifest.poll) if manifest else "",
            rolling="yes" if manifest and manifest.next else "",
            timestamp=str(trusted.timestamp_version),
            clock="" if trusted.clock_trusted else "off",
            stale="",
        )
        installed = self.journal.installed()
        stable = manifest.stable if manifest else None
        if not (installed and stable and installed.running.set == stable.set):
            return
        if self.journal.recall("stable") != stable.set:
            self._raise_epochs(installed.running)

    def _raise_epochs(self, stable: Running) -> None:
        """Never go below what is stable. A release that was withdrawn must not keep the next one
        away, hence no error: each poll tries again."""
        refs = stable.content.components
        try:
            epochs = {name: self.ports.trust.descriptor(ref).epoch for name, ref in refs.items()}
        except UpdateRejected as error:
            log.warning("the epochs of set %s are not known: %s", stable.set, error)
            return
        self.journal.raise_epochs(epochs)
        self.journal.remember(stable=stable.set)

    def _note_stale(self) -> None:
        if not self.journal.recall("stale"):
            self.journal.remember_time("stale", self.ports.clock.now())

    def _report(self) -> None:
        """Send the outbox, with a heartbeat; without events, only when a heartbeat is due."""
        now = self.ports.clock.now()
        if self.reporter is None or not report_due(self.journal, now, self.heartbeat):
            return
        if self.reporter.send(self._heartbeat()) is Sent.ALL:
            self.journal.remember_time("heartbeat", now)

    def _heartbeat(self) -> Heartbeat:
        boot = self.ports.bootloader.facts()
        running = fresh.device_view(self.journal, boot).running
        record, recall = self.journal.record(), self.journal.recall
        return Heartbeat(
            set=running.set if running else None,
            running=running.content if running else None,
            fleet=recall("fleet") or None,
            state=record.state if record else State.IDLE,
            timestamp_version=int(recall("timestamp") or 0),
            clock_trusted=not recall("clock"),
            agent=self.version,
            boot_id=boot.boot_id,
            facts=self.ports.attributes,
            last_outcome=self.journal.last_outcome(),
            stale_since=self.journal.recall_time("stale"),
            waiting=record.waiting if record else self._held_back(),
        )
