"""Reports in SQL: load what a batch touches, process it, save what changed."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, select, tuple_

from reconciler.adapters import sql_devices
from reconciler.adapters.sql_engine import put_new
from reconciler.adapters.sql_learn import load_rules, save_counts
from reconciler.adapters.sql_rows import attempts_of, chunks, event_row
from reconciler.adapters.sql_tables import attempts, events
from reconciler.domain.attempts import Attempt, AttemptKey
from reconciler.domain.ingest import Known, Receipt, Submission, events_of, process

EVENTS_KEPT = timedelta(days=90)


def ingest(
    connection: Connection, submissions: Sequence[Submission], now: datetime
) -> tuple[Receipt, ...]:
    known = _load(connection, submissions)
    receipts, changes = process(submissions, known, now)
    sql_devices.spend(connection, changes.spent, now)
    sql_devices.save(connection, known.devices, changes.devices)
    put_new(connection, events, [
        event_row(key, event, now) for (key, _), event in changes.events.items()
    ])  # fmt: skip
    save_counts(connection, changes)
    _forget_events(connection, now - EVENTS_KEPT, limit=2 * len(changes.events))
    return receipts


def _forget_events(connection: Connection, before: datetime, *, limit: int) -> None:
    """Delete the oldest events received before `before`: with two for each that is added, the
    table stops growing and no transaction is long.

    What they counted stays: an attempt keeps its outcome, and an event that comes again after so
    long a time finds it there.
    """
    old = (
        select(events.c.key, events.c.id)
        .where(events.c.received_at < before)
        .order_by(events.c.received_at)
        .limit(limit)
        .with_for_update(skip_locked=True)  # another gateway may be at it
    )
    if limit:
        connection.execute(delete(events).where(tuple_(events.c.key, events.c.id).in_(old)))


def _load(connection: Connection, submissions: Sequence[Submission]) -> Known:
    reports = [submission.report for submission in submissions]
    told = [(report.iss, event) for report in reports for event in events_of(report)]
    telling = {key for key, _ in told}
    names = {event.rollout for _, event in told if event.rollout}
    nonces = [submission.nonce.text for submission in submissions if submission.nonce]
    return Known(
        devices=sql_devices.load(connection, {report.iss for report in reports}),
        entries=sql_devices.load_entries(connection, telling) if names else {},
        rules=load_rules(connection, names),
        attempts=_load_attempts(connection, telling, names),
        events=_load_events(connection, {(key, event.id) for key, event in told}),
        spent=sql_devices.spent(connection, nonces),
    )


def _load_attempts(
    connection: Connection, keys: set[str], names: set[str]
) -> dict[AttemptKey, Attempt]:
    found: dict[AttemptKey, Attempt] = {}
    for chunk in chunks(sorted(keys)) if names else ():
        query = select(attempts).where(attempts.c.key.in_(chunk))
        query = query.where(attempts.c.rollout.in_(sorted(names)))
        found.update(attempts_of(connection.execute(query)))
    return found


def _load_events(connection: Connection, told: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of `told` (device key, event id) that were taken before."""
    found = set[tuple[str, str]]()
    for chunk in chunks(sorted(told)):
        query = select(events.c.key, events.c.id).where(
            events.c.key.in_({key for key, _ in chunk}), events.c.id.in_({id for _, id in chunk})
        )
        found.update((row.key, row.id) for row in connection.execute(query))
    return found
