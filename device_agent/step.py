"""One poll: look, decide, drive, report. Runs in a short-lived child; everything it learns that the
next one needs is in the journal."""

import logging
from dataclasses import dataclass

from device_agent import driver, fresh
from device_agent.core.record import Problem, Record
from device_agent.core.selection import select, target_slot
from device_agent.core.states import State
from device_agent.driver import Decision, Result
from device_agent.errors import TransientError, UpdateRejected
from device_agent.journal import Journal
from device_agent.outlook import report_due
from device_agent.ports import Component, Ports, Trusted
from device_agent.reporter import Reporter, Sent
from schemas.refusal import Refusal
from schemas.resolve import Action, Running, Target, resolve
from schemas.wire.descriptor import Descriptor
from schemas.wire.manifest import Manifest
from schemas.wire.report import FailureClass, Heartbeat
from schemas.wire.report import Outcome as Verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stepped:
    """How a poll ended. `worked`: on a deployment; there may be more to do at once.
    `trouble`: why the tree could not be used, if it could not."""

    result: Result
    worked: bool
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """A journal, the world, and who reports; `heartbeat` is the interval in seconds."""

    journal: Journal
    ports: Ports
    reporter: Reporter | None
    heartbeat: float
    version: str

    def poll(self, *, stop_before: State | None = None) -> Stepped:
        """Go on with the deployment at work, or look whether one has to begin."""
        trouble = None
        if self.journal.record() is None:
            self._leave_lost_trial()
            try:
                self._begin_if_wanted(stop_before)
            except (TransientError, UpdateRejected) as error:
                trouble = str(error)
                log.warning("nothing new is done: %s", trouble)
                self._note_stale()
            if self.journal.record() is not None:
                self._report()  # that it starts; its end may be a restart away
        worked = self.journal.record() is not None
        result = driver.run(self.journal, self.ports)
        self._report()
        return Stepped(result, worked, trouble or self._stuck())

    def _leave_lost_trial(self) -> None:
        """Go back from a trial boot that nobody will decide: its record is lost, or was given up.

        Once: where that does not lead to the primary, a person has to look, and nothing begins.
        """
        boot = self.ports.bootloader.facts()
        if boot.trial is None or boot.running != boot.trial:
            return
        log.error("slot %s runs on trial, and no deployment is known: going back", boot.running)
        self.ports.bootloader.cancel()
        self.ports.machine.reboot()

    def _stuck(self) -> str | None:
        """Return why a download waits: then the polls, too, become rarer."""
        record = self.journal.record()
        return record.waiting if record and record.state is State.DOWNLOAD else None

    def look(self) -> Target:
        """Return what the tree says this device should do. Raises as Trust.refresh()."""
        return self._target(fresh.refresh(self.journal, self.ports))

    def decide(self, decision: Decision) -> Result:
        """Answer a deployment that asks a person. Raises NothingToDecide."""
        result = driver.decide(self.journal, self.ports, decision)
        self._report()
        return result

    def _begin_if_wanted(self, stop_before: State | None) -> None:
        trusted = fresh.refresh(self.journal, self.ports)
        self._remember(trusted)
        target = self._target(trusted)
        log.info("%s: %s", target.action, target.reason)
        if trusted.manifest is None or target.action is Action.STAY:
            return
        record = self._record(target, trusted, trusted.manifest, stop_before)
        driver.begin(self.journal, self.ports, record)

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
        """Return the new deployment; one that cannot be installed here has failed already."""
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
                attributes={**trusted.entry.labels, **self.ports.attributes},
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
            waiting=record.waiting if record else None,
        )
