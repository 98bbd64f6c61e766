"""Attempts of devices at rollouts: how events fold into them, whose vote counts where. Pure.

One device has one vote in a rollout. A failure wins over a success, either over neutral; what is
counted once is never uncounted, except by a worse outcome.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from schemas.resolve import admitted
from schemas.wire.manifest import Manifest, Next
from schemas.wire.report import Event, EventKind, FailureClass, Outcome
from schemas.wire.shard import ShardEntry
from schemas.wire.status import StageCounts

AttemptKey = tuple[str, str, int]  # device key, rollout, attempt
CounterKey = tuple[str, str, str]  # rollout, stage, counter

_RANK = {None: 0, Outcome.NEUTRAL: 1, Outcome.OK: 2, Outcome.FAILED: 3}
_AWAITING_RETURN = frozenset(
    {"reboot", "verify-reboot", "rollback-reboot", "verify-rollback"}
)  # as the agent reports its states
_FAILURE = "failed:"  # the counters of failures by class are `failed:healthcheck`, …


@dataclass(frozen=True, slots=True)
class Rules:
    """Whom a rollout admitted when it last admitted anybody. Kept after `admit` is emptied, so
    that late reports of a halted rollout still count where they belong."""

    fleet: str
    attempt: int
    next: Next


@dataclass(frozen=True, slots=True)
class Attempt:
    """How far a device is. Times are the server's. `stage` None: stored, not counted."""

    set: str | None
    state: str
    started_at: datetime
    last_event_at: datetime
    stage: str | None = None
    outcome: Outcome | None = None
    failure: FailureClass | None = None
    finished_at: datetime | None = None


def rules_of(manifest: Manifest) -> Rules | None:
    """Return the manifest's rules, or None when it admits nobody."""
    if manifest.next is None or not manifest.next.admit:
        return None
    return Rules(manifest.fleet, manifest.attempt, manifest.next)


def fold(attempt: Attempt | None, event: Event, now: datetime) -> Attempt | None:
    """Return the attempt after `event`, or what it was if the event says nothing about it."""
    if event.outcome is None and event.kind is not EventKind.STATE:
        return attempt
    before = attempt or Attempt(event.set, event.state or "", now, now)
    if _RANK[event.outcome] > _RANK[before.outcome]:
        failed = event.outcome is Outcome.FAILED
        return replace(
            before,
            state=event.state or before.state,
            last_event_at=now,
            outcome=event.outcome,
            failure=(event.failure or FailureClass.UNKNOWN) if failed else None,
            finished_at=now,
        )
    if before.outcome is not None:
        return before
    return replace(before, state=event.state or before.state, last_event_at=now)


def stage_of(
    attempt: Attempt,
    number: int,
    rules: Rules | None,
    entry: ShardEntry | None,
    running: str | None,
) -> str | None:
    """Return the stage that admits the device, or None: then its vote is stored, not counted.

    `number` is the attempt that the device claims, `running` the set it ran before.
    """
    if rules is None or entry is None or entry.fleet != rules.fleet or entry.pin:
        return None
    if number != rules.attempt or attempt.set not in (None, rules.next.set):
        return None
    rule = admitted(rules.next, entry, running)
    return rule.stage if rule else None


def votes(rollout: str, attempt: Attempt | None) -> Counter[CounterKey]:
    """Return what the attempt adds to the counters."""
    if attempt is None or attempt.stage is None:
        return Counter()
    names = ["started"]
    if attempt.outcome:
        names.append(str(attempt.outcome))
    if attempt.failure:
        names.append(f"{_FAILURE}{attempt.failure}")
    return Counter({(rollout, attempt.stage, name): 1 for name in names})


def difference(after: Counter[CounterKey], before: Counter[CounterKey]) -> Counter[CounterKey]:
    result = Counter(after)
    result.subtract(before)
    return Counter({key: number for key, number in result.items() if number})


def stage_counts(counters: Mapping[str, int], overdue: int) -> StageCounts:
    """Return the counters of one stage (`started`, `ok`, `failed`, `failed:…`) as StageCounts."""
    return StageCounts(
        started=counters.get("started", 0),
        ok=counters.get("ok", 0),
        failed=counters.get("failed", 0),
        neutral=counters.get("neutral", 0),
        overdue=overdue,
        failures={
            name.removeprefix(_FAILURE): number
            for name, number in sorted(counters.items())
            if name.startswith(_FAILURE) and number
        },
    )


def awaits_return(state: str) -> bool:
    """Is `state` one from which a healthy device comes back within minutes: a reboot, a check?"""
    return state in _AWAITING_RETURN


def is_overdue(
    attempt: Attempt, now: datetime, timeouts: tuple[timedelta, timedelta] | None
) -> bool:
    """Is the unfinished attempt silent for longer than (attemptTimeout, reportLost) allow?"""
    if timeouts is None or attempt.outcome is not None:
        return False
    attempt_timeout, report_lost = timeouts
    silent = now - attempt.last_event_at
    return silent > attempt_timeout or (awaits_return(attempt.state) and silent > report_lost)
