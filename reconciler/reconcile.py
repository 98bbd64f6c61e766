"""One pass of the reconciler: read the commit, plan, publish, remember. The order is the point.

Nothing is decided here (reconciler/domain decides) and nothing is remembered here that a restart
could lose: the planner's memory is the published tree (docs/adr/planner-memory.md). Whatever goes
wrong becomes a condition and one line of the log, and the next pass tries again; only another
writer and a wrong configuration end the process.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

import structlog

from reconciler.commit import Commit, CommitReader
from reconciler.conditions import (
    COMMIT,
    DEVICES,
    PUBLISHED,
    SOURCE,
    STORE,
    TIMESTAMP,
    Conditions,
)
from reconciler.domain.assignment import Conflict, assign, guard
from reconciler.domain.desired import Desired
from reconciler.domain.documents import Attempted, documents, lost, project_status
from reconciler.domain.observed import Observed
from reconciler.domain.open_stages import any_open, timeouts
from reconciler.domain.planner import Hints, Plan, plan
from reconciler.errors import (
    CommitRefused,
    LeaseHeld,
    Misconfigured,
    NotSigned,
    ReconcilerError,
    Stopping,
    TreeRefused,
    Unavailable,
)
from reconciler.ports import FleetSource, Publication, Pulse, Store, Tree
from schemas.wire.decode import encode
from schemas.wire.shard import ShardEntry
from schemas.wire.status import Condition, FleetStatus

TIMESTAMP_EVERY = timedelta(hours=6)  # DESIGN section 4; it expires after 7 days

log = structlog.get_logger()


class _PassOverError(Exception):
    """This pass ends here: a condition says why."""


class _GuardedError(CommitRefused):
    """The commit moves more devices at once than its guards allow."""


class Reconciler:
    """Owns the loop's state: the commit that is served, the one that shall be, and the newest.

    A commit is served once its plan is published. One that cannot be (a guard, a signature that is
    missing) must not stop the rollouts of the one before: its gates are still looked at.
    """

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
        self._wanted: Commit | None = None  # good, and not published yet
        self._unsigned = False  # the newest good commit was refused when it was published
        self._published: str | None = None
        self._attempted: Attempted | None = None
        self._resumed = False
        self._missed: Mapping[str, ShardEntry] = {}
        self._signed: datetime | None = None
        self._rested = 0  # the store's devices_version when a plan changed nothing; 0: it may

    def start(self) -> None:
        """Become the writer, give the store what a lost database cannot know any more, and serve
        again what was served before. Devices should be answered only afterwards.

        Raises LeaseHeld when another reconciler writes this tree, Unavailable, Misconfigured.
        """
        self._tree.take_lease()
        with suppress(_PassOverError):
            with self._about(PUBLISHED):
                published = self._tree.entries()
            with self._about(STORE):
                self._restore(published)
        self._resume()

    def look(self) -> None:
        """Ask the Git host for the newest commit and read it if it is new."""
        self._resume()
        with suppress(_PassOverError), self._about(SOURCE):
            commit = self._source.fetch()
            self._pulse.commit_seen(self._clock())
            if self._attempted is None or self._attempted.commit != commit:
                self._judge(commit)
            self._well(SOURCE, "Fetched", commit)

    def publish(self) -> bool:
        """Plan with what is known now and publish what changed. Return whether anything did.

        Where that fails, what is published stays, is kept from expiring, and says why. Raises
        LeaseHeld when another writer moved the tree, and Misconfigured: this process must stop.
        """
        now = self._clock()
        with suppress(_PassOverError):
            if not self._at_rest():
                return self._publish_plan(now)
        with suppress(_PassOverError):
            return self._publish_conditions(now)
        with suppress(_PassOverError):
            self._refresh_timestamp(now)
        return False

    # From Git

    def _resume(self) -> None:
        """Go on with what was published and accepted before the restart, whatever the Git host
        says today. Once; where mirror or tree cannot be read now, again with the next look.
        """
        if self._resumed:
            return
        with suppress(_PassOverError):
            with self._about(PUBLISHED):
                project = self._tree.project()
            self._published = project.commit if project else None
            with self._about(SOURCE):
                accepted = self._source.accepted()
                if accepted and self._attempted is None:
                    self._judge(accepted)
            if self._published and (self._wanted is None or self._published != accepted):
                self._served = self._reread(self._published)
            self._resumed = True

    def _reread(self, commit: str) -> Commit | None:
        """Return the published commit: if the newest cannot be published, it is still served."""
        try:
            return self._reader.read(commit)
        except CommitRefused as error:
            log.warning("the published commit is refused now", commit=commit, error=str(error))
            return None
        except Unavailable as error:
            raise _PassOverError from error  # the mirror may be fetched anew by the next look

    def _judge(self, commit: str) -> None:
        """Read `commit` and serve it if it is good. Raises Unavailable: it is not known yet."""
        now = self._clock()
        try:
            read = self._reader.read(commit)
            self._source.accept(commit)
        except CommitRefused as error:
            lines = _lines(error)
            self._attempted = Attempted(commit, lines, now)
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            reason, message = _reason(error), f"commit {commit[:12]}: {lines[0]}{more}"
            self._ill(COMMIT, reason, message, problems=lines)
            return
        self._wanted, self._unsigned, self._rested = read, False, 0
        self._attempted = Attempted(commit, (), now)
        self._well(COMMIT, "Valid", f"commit {commit[:12]}")
        self._pulse.commit_good(now)

    # To the tree

    def _publish_plan(self, now: datetime) -> bool:
        with self._about(PUBLISHED):
            if self._wanted is not None:
                try:
                    return self._publish_commit(self._wanted, now)
                except (CommitRefused, NotSigned) as error:
                    self._set_aside(self._wanted, error)
            if self._served is None:
                raise _PassOverError
            return self._publish_commit(self._served, now)

    def _set_aside(self, wanted: Commit, error: CommitRefused | NotSigned) -> None:
        message = f"commit {wanted.desired.commit[:12]}: {error}"
        self._ill(PUBLISHED, _reason(error), message)
        if not isinstance(error, _GuardedError):  # devices may change their fleet, signatures not
            self._wanted, self._unsigned = None, True

    def _publish_commit(self, commit: Commit, now: datetime) -> bool:
        desired, tree = commit.desired, self._tree
        statuses, manifests, published = tree.statuses(), tree.manifests(), tree.entries()
        version, observed = self._observe(now, timeouts(desired, statuses), published)
        assignments = assign(desired, observed.enrolled, published)
        entries = assignments.entries
        self._tell_conflicts(assignments.conflicts)
        refusal = guard(desired, published, entries, statuses)
        if refusal:
            raise _GuardedError(refusal)
        planned = plan(desired, entries, observed, statuses, manifests, self._hints, now)
        before = Plan(manifests, statuses)
        # First the store: a device may report on a manifest the moment it is published.
        self._learn(desired, planned, entries)
        contents = documents(desired, planned, entries, before, published)
        project = self._project(desired.commit, self._conditions_with(commit))
        changed = tree.publish(Publication({**contents, **project}, commit.releases), now)
        self._served_now(commit)
        if changed:
            self._fresh(now)
            self._record(planned, statuses)
        elif self._wanted is None and not any_open(planned.statuses):
            self._rested = version
        return changed

    def _conditions_with(self, commit: Commit) -> tuple[Condition, ...]:
        """Return the conditions as they are once `commit` is published."""
        if self._is_newest_good(commit):
            return self._conditions.all_once_well(PUBLISHED, *_published(commit))
        return self._conditions.all()

    def _served_now(self, commit: Commit) -> None:
        if self._is_newest_good(commit):
            self._well(PUBLISHED, *_published(commit))
            self._wanted = None
        self._served, self._published, self._resumed = commit, commit.desired.commit, True

    def _is_newest_good(self, commit: Commit) -> bool:
        return not self._unsigned and self._wanted in (None, commit)

    def _publish_conditions(self, now: datetime) -> bool:
        """Publish what is known about ourselves, and sign again what nears its expiry."""
        try:
            publication = Publication(self._project(self._published, self._conditions.all()))
            changed = self._tree.publish(publication, now)
        except (LeaseHeld, Misconfigured):
            raise
        except ReconcilerError as error:
            if not self._conditions.is_ill(PUBLISHED):  # else the first cause says more
                self._ill(PUBLISHED, _reason(error), str(error))
            raise _PassOverError from error
        if changed:
            self._fresh(now)
        return changed

    def _refresh_timestamp(self, now: datetime) -> None:
        """Sign the timestamp if it may be due, which needs nothing but its key."""
        if self._signed is not None and now - self._signed < TIMESTAMP_EVERY:
            return
        with self._about(TIMESTAMP):
            self._tree.refresh_timestamp(now)
        self._fresh(now)

    def _fresh(self, now: datetime) -> None:
        self._signed = now
        self._pulse.published(now)
        self._well(TIMESTAMP, "Signed", "")

    def _project(
        self, commit: str | None, conditions: tuple[Condition, ...]
    ) -> Mapping[str, bytes]:
        """Return `project.json`; nothing before the first commit was looked at."""
        if self._attempted is None:
            return {}
        known = self._served or self._wanted
        name = known.desired.project if known else None
        return {"project.json": encode(project_status(name, commit, self._attempted, conditions))}

    def _tell_conflicts(self, conflicts: tuple[Conflict, ...]) -> None:
        if conflicts:
            more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
            self._ill(DEVICES, "Conflict", f"{conflicts[0].message}{more}")
        else:
            self._well(DEVICES, "Distinct", "")

    # The store

    def _observe(
        self,
        now: datetime,
        limits: Mapping[str, tuple[timedelta, timedelta]],
        published: Mapping[str, ShardEntry],
    ) -> tuple[int, Observed]:
        """Return what devices said, and the version of the enrolled ones before that. Without it
        nothing is planned: no gate, no guess."""
        with self._about(STORE):
            version = self._store.devices_version()
            observed = self._store.observed(now, limits)
            missed = lost(published, observed.enrolled)
            # Those that a person rejected and Git still lists stay missed: ask once.
            if missed != self._missed and self._restore(missed):
                observed = self._store.observed(now, limits)
            self._missed = lost(published, observed.enrolled)
            return version, observed

    def _at_rest(self) -> bool:
        """Return whether a plan would be the last one again: no rollout is open, so that time
        decides nothing, and neither the commit nor the enrolled devices changed since. A version
        of 0 may be that of a new database, which has to be taught."""
        if not self._rested:
            return False
        with self._about(STORE):
            rests = self._store.devices_version() == self._rested
        self._well(STORE, "Ready", "")
        self._rested = self._rested if rests else 0
        return rests

    def _restore(self, entries: Mapping[str, ShardEntry]) -> int:
        restored = self._store.restore(entries)
        if restored:
            log.warning("devices restored from the published tree", devices=restored)
        return restored

    def _learn(self, desired: Desired, planned: Plan, entries: Mapping[str, ShardEntry]) -> None:
        listed = {d.key: d.name for d in desired.devices.values() if d.key}
        with self._about(STORE):
            self._store.learn(entries=entries, listed=listed, manifests=planned.manifests)
        self._well(STORE, "Ready", "")

    def _record(self, planned: Plan, before: Mapping[str, FleetStatus]) -> None:
        for fleet, status in planned.statuses.items():
            old = before.get(fleet)
            if old == status:
                continue
            with suppress(_PassOverError), self._about(STORE):
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

    # Words

    @contextmanager
    def _about(self, subject: str) -> Iterator[None]:
        """Make what goes wrong in the block the condition of `subject`, and end the pass.

        Also a mistake of our own: what is published must be kept fresh all the same.
        """
        try:
            yield
        except (LeaseHeld, Misconfigured, _PassOverError):
            raise
        except Stopping as error:
            raise _PassOverError from error
        except ReconcilerError as error:
            self._ill(subject, _reason(error), str(error))
            raise _PassOverError from error
        except Exception as error:
            message = f"{type(error).__name__}: {error}; this is a mistake in fleetcd, report it"
            self._ill(subject, "InternalError", message, exc_info=error)
            raise _PassOverError from error

    def _well(self, subject: str, reason: str, message: str) -> None:
        if self._conditions.well(subject, reason, message):
            log.info("recovered", subject=subject, message=message)

    def _ill(self, subject: str, reason: str, message: str, **details: object) -> None:
        if self._conditions.ill(subject, reason, message):
            log.error(reason, subject=subject, message=message, **details)


def _published(commit: Commit) -> tuple[str, str]:
    """Return reason and message of the condition that says so."""
    return "Published", f"commit {commit.desired.commit[:12]}"


def _reason(error: ReconcilerError) -> str:
    match error:
        case _GuardedError():
            return "Guarded"
        case NotSigned():
            return "NotSigned"
        case TreeRefused():
            return "Invalid"
        case CommitRefused():
            return "Refused"
        case Unavailable():
            return "Unavailable"
    return type(error).__name__


def _lines(error: CommitRefused) -> tuple[str, ...]:
    return tuple(map(str, error.problems if isinstance(error, TreeRefused) else (error,)))
