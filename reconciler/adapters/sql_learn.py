"""What the gateway learns from the reconciler: entries, listed keys, and whom rollouts admit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from reconciler.adapters import sql_devices
from reconciler.adapters.sql_engine import add, put
from reconciler.adapters.sql_rows import (
    attempt_row,
    attempts_of,
    chunks,
    entry_row,
    rules_from,
    rules_row,
)
from reconciler.adapters.sql_tables import (
    attempts,
    counters,
    devices,
    entries,
    listed_keys,
    rollouts,
)
from reconciler.domain.attempts import Rules, rules_of
from reconciler.domain.devices import Candidate, with_entry
from reconciler.domain.ingest import Changes, attribute
from schemas.wire.manifest import Manifest
from schemas.wire.report import EnrolState
from schemas.wire.shard import ShardEntry

MAX_UNCOUNTED = 10_000  # attempts without a stage that one learn() looks at again


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was learnt last: what equals it needs no look into the database."""

    entries: Mapping[str, ShardEntry] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)
    manifests: Mapping[str, Manifest] = field(default_factory=dict)


def learn(connection: Connection, news: Learnt, last: Learnt | None, now: datetime) -> None:
    """Bring the database up to `news`. `last` None: nothing is known, compare with the tables."""
    if last is None or news.entries != last.entries:
        _learn_entries(connection, news.entries)
    if last is None or news.listed != last.listed:
        _learn_listed(connection, news.listed, now)
    if last is None or news.manifests != last.manifests:
        _learn_rollouts(connection, news.manifests, last.manifests if last else {})
    _attribute(connection, news)


def _learn_entries(connection: Connection, wanted: Mapping[str, ShardEntry]) -> None:
    rows = connection.execute(select(entries.c.key, entries.c.document))
    stored = {row.key: row.document for row in rows}
    asked = {key: entry_row(key, entry) for key, entry in wanted.items()}
    changed = {key for key, row in asked.items() if stored.get(key) != row["document"]}
    gone = stored.keys() - wanted.keys()
    put(connection, entries, [asked[key] for key in sorted(changed)])
    _delete(connection, sorted(gone))
    before = sql_devices.load(connection, sorted(changed | gone))
    after = {key: with_entry(device, wanted.get(key)) for key, device in before.items()}
    sql_devices.save(connection, before, after)


def _delete(connection: Connection, keys: list[str]) -> None:
    for chunk in chunks(keys):
        connection.execute(delete(entries).where(entries.c.key.in_(chunk)))


def _learn_listed(connection: Connection, wanted: Mapping[str, str], now: datetime) -> None:
    rows = connection.execute(select(listed_keys))
    stored = {row.key: row.name for row in rows}
    changed = {key: name for key, name in wanted.items() if stored.get(key) != name}
    for chunk in chunks(sorted(stored.keys() - wanted.keys())):
        connection.execute(delete(listed_keys).where(listed_keys.c.key.in_(chunk)))
    put(connection, listed_keys, [{"key": key, "name": name} for key, name in changed.items()])
    waiting = (
        select(devices.c.key)
        .join(listed_keys, listed_keys.c.key == devices.c.key)
        .where(devices.c.state.in_([EnrolState.PENDING, EnrolState.CONFLICT]))
    )
    for key, device in sql_devices.load(connection, connection.scalars(waiting).all()).items():
        candidate = Candidate(key, device.name, device.public_key or "")
        judged = sql_devices.judged(connection, candidate, device, now)
        sql_devices.save(connection, {key: device}, {key: judged})


def _learn_rollouts(
    connection: Connection, manifests: Mapping[str, Manifest], last: Mapping[str, Manifest]
) -> None:
    ours = {manifest.next.rollout for manifest in manifests.values() if manifest.next}
    changed = [each for fleet, each in manifests.items() if last.get(fleet) != each]
    rules = [found for manifest in changed if (found := rules_of(manifest))]
    put(connection, rollouts, [rules_row(each) for each in rules])
    current = set(connection.scalars(select(rollouts.c.rollout).where(rollouts.c.is_current)))
    for chunk in chunks(sorted(current - ours)):
        statement = update(rollouts).where(rollouts.c.rollout.in_(chunk))
        connection.execute(statement.values(is_current=False))


def _attribute(connection: Connection, news: Learnt) -> None:
    """Count attempts that came before the news that admits them."""
    names = [manifest.next.rollout for manifest in news.manifests.values() if manifest.next]
    waiting = {}
    for chunk in chunks(names):
        query = select(attempts).where(attempts.c.rollout.in_(chunk), attempts.c.stage.is_(None))
        waiting.update(attempts_of(connection.execute(query.limit(MAX_UNCOUNTED))))
    if not waiting:
        return
    keys = {key for key, _, _ in waiting}
    save_counts(
        connection,
        attribute(
            waiting,
            load_rules(connection, {rollout for _, rollout, _ in waiting}),
            sql_devices.load_entries(connection, keys),
            sql_devices.load(connection, keys),
        ),
    )


def load_rules(connection: Connection, names: set[str]) -> dict[str, Rules]:
    found: dict[str, Rules] = {}
    for chunk in chunks(sorted(names)):
        query = select(rollouts).where(rollouts.c.rollout.in_(chunk))
        for row in connection.execute(query):
            found[row.rollout] = rules_from(row.fleet, row.attempt, row.document)
    return found


def save_counts(connection: Connection, changes: Changes) -> None:
    """Write attempts and what they add to the counters."""
    put(connection, attempts, [attempt_row(key, each) for key, each in changes.attempts.items()])
    add(connection, counters, [
        {"rollout": rollout, "stage": stage, "counter": counter, "number": number}
        for (rollout, stage, counter), number in changes.counters.items() if number
    ])  # fmt: skip
