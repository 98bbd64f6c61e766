"""What the planner sees, in SQL: the inventory, and the aggregates that ingest keeps."""

import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, and_, func, or_, select

from reconciler.adapters.sql_rows import chunks
from reconciler.adapters.sql_tables import (
    attempts,
    counters,
    devices,
    rollouts,
    running_counters,
)
from reconciler.domain.attempts import stage_counts
from reconciler.domain.observed import EnrolledDevice, Observed, Seen
from schemas.wire.report import EnrolState
from schemas.wire.status import StageCounts

_ACCEPTED = devices.c.state == str(EnrolState.ACCEPTED)
Timeouts = Mapping[str, tuple[timedelta, timedelta]]


def observed(connection: Connection, now: datetime, timeouts: Timeouts) -> Observed:
    return Observed(
        enrolled=_enrolled(connection),
        seen=_seen(connection),
        counts=_counts(connection, now, timeouts),
        running=_running(connection),
    )


def _enrolled(connection: Connection) -> tuple[EnrolledDevice, ...]:
    columns = devices.c.name, devices.c.key, devices.c.public_key, devices.c.assigned
    query = select(*columns).where(_ACCEPTED).order_by(devices.c.key)
    return tuple(
        EnrolledDevice(row.name, row.key, row.public_key, json.loads(row.assigned))
        for row in connection.execute(query)
    )


def _seen(connection: Connection) -> dict[str, Seen]:
    columns = devices.c.key, devices.c.last_seen, devices.c.running, devices.c.facts
    query = select(*columns).where(_ACCEPTED, devices.c.last_seen.is_not(None))
    return {
        row.key: Seen(row.last_seen, row.running, json.loads(row.facts or "{}"))
        for row in connection.execute(query)
    }


def _running(connection: Connection) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in connection.execute(select(running_counters)):
        if row.number:
            found[row.fleet][row.set] = row.number
    return dict(found)


def _counts(
    connection: Connection, now: datetime, timeouts: Timeouts
) -> dict[str, dict[str, StageCounts]]:
    """Return the counts of the rollouts in `timeouts` and of those that manifests name now."""
    current = connection.scalars(select(rollouts.c.rollout).where(rollouts.c.is_current))
    numbers: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for chunk in chunks(sorted({*current, *timeouts})):
        query = select(counters).where(counters.c.rollout.in_(chunk))
        for row in connection.execute(query):
            numbers[row.rollout, row.stage][row.counter] = row.number
    overdue = _overdue(connection, now, timeouts)
    result: dict[str, dict[str, StageCounts]] = defaultdict(dict)
    for (rollout, stage), values in numbers.items():
        result[rollout][stage] = stage_counts(values, overdue.get((rollout, stage), 0))
    return dict(result)


def _overdue(
    connection: Connection, now: datetime, timeouts: Timeouts
) -> dict[tuple[str, str], int]:
    """Count unfinished attempts that are silent for too long, by the index `attempts_open`."""
    found: dict[tuple[str, str], int] = {}
    for rollout, (attempt_timeout, report_lost) in timeouts.items():
        silent = or_(
            attempts.c.last_event_at < now - attempt_timeout,
            and_(attempts.c.awaits_return, attempts.c.last_event_at < now - report_lost),
        )
        query = (
            select(attempts.c.stage, func.count().label("number"))
            .where(attempts.c.rollout == rollout, attempts.c.outcome.is_(None), silent)
            .where(attempts.c.stage.is_not(None))
            .group_by(attempts.c.stage)
        )
        found.update(((rollout, row.stage), row.number) for row in connection.execute(query))
    return found
