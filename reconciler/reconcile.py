"""One pass of the reconciler: read the commit, plan, publish, remember. The order is the point.

Nothing is decided here (reconciler/domain decides) and nothing is remembered here that a restart
could lose: the planner's memory is the published tree (docs/adr/planner-memory.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from reconciler.commit import Commit, CommitInvalid, CommitReader
from reconciler.conditions import COMMIT, DEVICES, PUBLISHED, SOURCE, STORE, Conditions
from reconciler.domain.assignment import Conflict, assign, guard
from reconciler.domain.desired import Desired
from reconciler.domain.documents import documents
from reconciler.domain.planner import Hints, Plan, plan
from reconciler.errors import CommitRefused, NotSigned, Unavailable
from reconciler.ports import FleetSource, Publication, Pulse, Store, Tree
from schemas.wire.project import MAX_PROBLEMS, ProjectStatus
from schemas.wire.shard import ShardEntry
from schemas.wire.status import FleetStatus

log = structlog.get_logger()


@dataclass(slots=True)
class Attempted:
    """The newest commit that was looked at, and what was wrong with it."""

    commit: str
    problems: tuple[str, ...]
    since: datetime


class Reconciler:
    """Owns the loop's state: the commit that is served and the one that was tried last."""

    def __init__(
        self,
        *,
        source: FleetSource,
        reader: CommitReader,
        tree: Tree,
        store: Store,
        hints: Hints,
        conditions: Conditions,
        pulse: Pulse,
        clock: Callable[[], datetime],
    ) -> None:
        self._source, self._reader, self._tree, self._store = source, reader, tree, store
        self._hints, self._conditions, self._pulse = hints, conditions, pulse
        self._clock = clock
        self._served: Commit | None = None
        self._attempted: Attempted | None = None

    def start(self) -> None:
        """Become the writer and give the store what a lost database cannot know any more.

        Raises LeaseHeld when another reconciler writes this tree.
        """
        self._tree.take_lease()
        restored = self._store.restore(self._tree.entries())
        if restored:
            log.warning("devices restored from the published tree", devices=restored)
        accepted = self._source.accepted()
        if accepted:
            self._try(accepted)

    def look(self) -> None:
        """Ask the Git host for the newest commit and read it if it is new."""
        try:
            commit = self._source.fetch()
        except Unavailable as error:
            self._ill(SOURCE, "Unreachable", str(error))
            return
        except CommitRefused as error:
            self._ill(SOURCE, "Refused", str(error))
            return
        self._well(SOURCE, "Fetched", commit)
        self._pulse.commit_seen(self._clock())
        if self._attempted is None or self._attempted.commit != commit:
            self._try(commit)

    def publish(self) -> bool:
        """Plan with what is known now and publish what changed. Return whether anything did.

        Raises LeaseHeld when another writer moved the tree: this process must stop.
        """
        if self._served is None:
            return False
        try:
            return self._plan_and_publish(self._served)
        except NotSigned as error:
            self._ill(PUBLISHED, "NotSigned", str(error))
        except Unavailable as error:
            self._ill(PUBLISHED, "Unavailable", str(error))
        return False

    def _try(self, commit: str) -> None:
        now = self._clock()
        try:
            self._served = self._reader.read(commit)
            self._source.accept(commit)
            problems: tuple[str, ...] = ()
        except CommitInvalid as error:
            problems = tuple(map(str, error.problems[:MAX_PROBLEMS]))
        except CommitRefused as error:
            problems = (str(error),)
        except Unavailable as error:
            self._ill(SOURCE, "Unreadable", str(error))
            return
        self._attempted = Attempted(commit, problems, now)
        if problems:
            self._ill(COMMIT, "Invalid", f"commit {commit[:12]}: {problems[0]}", problems=problems)
        else:
            self._well(COMMIT, "Valid", f"commit {commit[:12]}")
            self._pulse.commit_good(now)

    def _plan_and_publish(self, served: Commit) -> bool:
        now = self._clock()
        desired, tree = served.desired, self._tree
        statuses, manifests, published = tree.statuses(), tree.manifests(), tree.entries()
        observed = self._store.observed(now, timeouts(desired, statuses))
        assignments = assign(desired, observed.enrolled, published)
        self._tell_conflicts(assignments.conflicts)
        refusal = guard(desired, published, assignments.entries, statuses)
        if refusal:
            self._ill(PUBLISHED, "Guarded", refusal)
            return False
        planned = plan(
            desired,
            assignments.entries,
            observed,
            statuses,
            manifests,
            self._hints,
            now,
        )
        # First the store: a device may report on a manifest the moment it is published.
        self._learn(desired, planned, assignments.entries)
        changed = tree.publish(
            Publication(
                documents(desired, planned, assignments.entries, published, self._project(desired)),
                served.releases,
            ),
            now,
        )
        self._well(PUBLISHED, "Published", f"commit {desired.commit[:12]}")
        if changed:
            self._pulse.published(now)
            self._record(planned, statuses)
        return changed

    def _tell_conflicts(self, conflicts: tuple[Conflict, ...]) -> None:
        if conflicts:
            more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
            self._ill(DEVICES, "Conflict", f"{conflicts[0].message}{more}")
        else:
            self._well(DEVICES, "Distinct", "")

    def _learn(self, desired: Desired, planned: Plan, entries: Mapping[str, ShardEntry]) -> None:
        listed = {d.key: d.name for d in desired.devices.values() if d.key}
        self._store.learn(entries=entries, listed=listed, manifests=planned.manifests)
        self._well(STORE, "Ready", "")

    def _record(self, planned: Plan, before: Mapping[str, FleetStatus]) -> None:
        for fleet, status in planned.statuses.items():
            old = before.get(fleet)
            if old == status:
                continue
            self._store.record(fleet, status.decisions)
            for decision in status.decisions:
                if old is None or decision not in old.decisions:
                    log.info(
                        decision.kind,
                        fleet=fleet,
                        rollout=decision.rollout,
                        stage=decision.stage,
                        reason=decision.reason,
                    )

    def _project(self, desired: Desired) -> ProjectStatus:
        attempted = self._attempted or Attempted(desired.commit, (), self._clock())
        commit_condition = self._conditions.get(COMMIT)
        return ProjectStatus(
            project=desired.project,
            commit=desired.commit,
            attempted=attempted.commit,
            since=attempted.since,
            conditions=(commit_condition,) if commit_condition else (),
            problems=attempted.problems,
        )

    def _well(self, subject: str, reason: str, message: str) -> None:
        before = self._conditions.get(subject)
        self._conditions.well(subject, reason, message)
        if before is not None and not before.status:
            log.info("recovered", subject=subject, message=message)

    def _ill(self, subject: str, reason: str, message: str, **details: object) -> None:
        if self._conditions.ill(subject, reason, message):
            log.error(reason, subject=subject, message=message, **details)


def timeouts(
    desired: Desired, statuses: Mapping[str, FleetStatus]
) -> Mapping[str, tuple[timedelta, timedelta]]:
    """Return by rollout (attemptTimeout, reportLost) of the stage that is open."""
    found = {}
    for fleet, status in statuses.items():
        rollout = status.rollout
        intent = desired.fleets.get(fleet)
        if rollout is None or intent is None:
            continue
        by_name = {stage.name: stage.gate for stage in intent.policy.stages}
        gates = [by_name[o.stage] for o in rollout.exposure if o.stage in by_name]
        if gates:
            found[rollout.id] = (gates[-1].attempt_timeout, gates[-1].report_lost)
    return found
