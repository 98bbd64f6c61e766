"""An update by hand: install, commit, rollback and resume, without a fleet and without a reboot.

One command runs at a time, under the lock `agent.lock` that the daemon's work takes, too.
"""

import logging
from collections.abc import Collection, Mapping

from device_agent.artifact.policy import expect_signed_bootstrap
from device_agent.artifact.provides import contents, expect_fitting, provides_after
from device_agent.core.standalone import (
    CAN_COMMIT,
    CAN_ROLL_BACK,
    NOT_DOWNLOADED,
    RESUME,
    Ending,
    Fact,
    Facts,
    Point,
    StandaloneRecord,
    Start,
    Step,
    artifact_component,
    ending,
    sentences,
)
from device_agent.errors import AgentError
from device_agent.journal import Journal
from device_agent.standalone_source import Incoming, OpenedArtifact
from device_agent.standalone_steps import Run, World
from schemas.wire.decode import decode

RECORD_LIMIT = 4 * 1024 * 1024  # bytes

log = logging.getLogger(__name__)


def load_record(journal: Journal) -> StandaloneRecord | None:
    """Return the update by hand that is at work. Raises Refusal for one that a newer agent wrote
    in words unknown to this one."""
    document = journal.standalone()
    return decode(StandaloneRecord, document, limit=RECORD_LIMIT) if document else None


def in_progress(journal: Journal) -> str | None:
    """Say which update by hand is in progress, None without one: a fleet's begins nothing then.

    Raises Refusal as load_record().
    """
    record = load_record(journal)
    if record is None:
        return None
    return f"the update by hand to {record.contents.name} is in progress ({record.point})"


class Standalone:
    """The commands. Each says on standard output what it did, and returns how it ended."""

    def __init__(self, journal: Journal, world: World) -> None:
        self._journal, self._world = journal, world

    def install(self, incoming: Incoming, stop_before: Collection[Step] = ()) -> Ending:
        """Install the artifact that `incoming` brings. Raises Refusal, JournalUnavailable."""
        if why := self._refused():
            log.error("nothing is installed: %s", why)
            return self._end(frozenset({Fact.FAILED, Fact.UNTOUCHED}))
        self._sweep()
        try:
            self._world.scripts.clear()
            opened = OpenedArtifact(incoming.chunks(), self._world.policy.keys)
            return self._end(self._install(opened, stop_before))
        except (AgentError, OSError) as error:
            log.error("%s", error)
            self._sweep()
            return self._end(NOT_DOWNLOADED)

    def commit(self, stop_before: Collection[Step] = ()) -> Ending:
        """Keep what was installed. Raises Refusal, JournalUnavailable."""
        return self._go_on("commit", CAN_COMMIT, stop_before)

    def resume(self, stop_before: Collection[Step] = ()) -> Ending:
        """Go on where the last command ended or was cut short. Raises as commit()."""
        return self._go_on("resume", RESUME, stop_before)

    def rollback(self, stop_before: Collection[Step] = ()) -> Ending:
        """Undo what was installed. Raises as commit()."""
        return self._go_on("roll back", CAN_ROLL_BACK, stop_before)

    def _go_on(
        self, what: str, starts: Mapping[Point, Start], stop_before: Collection[Step]
    ) -> Ending:
        self._sweep()
        record = load_record(self._journal)
        if record is None:
            log.error("cannot %s: no update is in progress", what)
            return self._end(frozenset({Fact.NONE_IN_PROGRESS}))
        start = starts.get(record.point) if record.point else None
        if start is None:
            log.error("cannot %s at %s; `resume` brings the update to its end", what, record.point)
            return self._end(frozenset({Fact.FAILED}))
        run = Run(self._journal, self._world, record, stop_before)
        return self._end(run.until_exit(start.step, start.facts))

    def _refused(self) -> str | None:
        """Return why nothing may be installed now."""
        if self._journal.record() is not None:
            return "a deployment of the fleet is at work; wait for its end (`show` tells)"
        if busy := in_progress(self._journal):
            return f"{busy}; `commit` it, roll it back, or `resume` it first"
        return None

    def _install(self, opened: OpenedArtifact, stop_before: Collection[Step]) -> Facts:
        header, provides = opened.header, self._journal.provides()
        self._world.say("Installing artifact...")
        expect_signed_bootstrap(header, self._world.policy)
        if header.is_bootstrap:
            self._world.say("Artifact with empty payload. Committing immediately.")
        expect_fitting(header, provides, self._world.device_type)
        if header.is_bootstrap:
            opened.check()
            self._journal.drop_standalone(provides_after(contents(header), provides))
            return frozenset({Fact.DOWNLOADED, Fact.INSTALLED, Fact.COMMITTED})
        record = StandaloneRecord(contents(header))
        self._world.prepare(header)
        return Run(self._journal, self._world, record, stop_before, opened).until_exit(
            Step.DOWNLOAD
        )

    def _sweep(self) -> None:
        """Clean up after a download that was not begun or cut short: of it there is no record."""
        if self._journal.standalone() is not None or self._journal.record() is not None:
            return
        try:
            self._world.installer.cleanup(artifact_component())
        except AgentError as error:
            log.warning("after a download that was cut short: %s", error)

    def _end(self, facts: Facts) -> Ending:
        for line in sentences(facts):
            self._world.say(line)
        return ending(facts)
