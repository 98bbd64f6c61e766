"""The gateway's memory in SQL: what devices said, who they are, and what was decided."""

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import select

from reconciler.adapters import sql_devices
from reconciler.adapters.sql_engine import Database, put, put_new
from reconciler.adapters.sql_ingest import ingest
from reconciler.adapters.sql_learn import Learnt, learn
from reconciler.adapters.sql_observed import Timeouts, observed
from reconciler.adapters.sql_rows import chunks, device_of, entry_row, json_text
from reconciler.adapters.sql_tables import decisions as decision_table
from reconciler.adapters.sql_tables import devices, meta
from reconciler.adapters.sql_tables import entries as entry_table
from reconciler.domain.devices import WAITING, Candidate, Device, restored
from reconciler.domain.ingest import Nonce, Receipt, Submission
from reconciler.domain.observed import Observed
from reconciler.http.ports import (
    DeviceQuery,
    Identity,
    NameHeld,
    NonceSpent,
    PendingFull,
    Ruling,
)
from schemas.canonical import sha256_hex
from schemas.wire.manifest import Manifest
from schemas.wire.report import EnrolState
from schemas.wire.shard import ShardEntry
from schemas.wire.status import Decision

_SECRET = "nonce_secret"  # noqa: S105 - the name of a row


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SqlStore:
    """Implements reconciler.ports.Store and reconciler.http.ports.GatewayStore. Thread-safe."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = _utc_now) -> None:
        self._database, self._clock = database, clock
        self._learnt: tuple[int, Learnt] | None = None  # and in which opening of the database

    @classmethod
    def open(cls, url: str, clock: Callable[[], datetime] = _utc_now) -> Self:
        """Open the database at the SQLAlchemy URL `url`, migrating it where that is needed."""
        return cls(Database(url), clock)

    def close(self) -> None:
        self._database.close()

    # What the reconciler asks

    def devices_version(self) -> int:
        with self._database.reading() as connection:
            return sql_devices.version(connection)

    def observed(self, now: datetime, timeouts: Timeouts) -> Observed:
        with self._database.reading() as connection:
            return observed(connection, now, timeouts)

    def learn(
        self,
        *,
        entries: Mapping[str, ShardEntry],
        listed: Mapping[str, str],
        manifests: Mapping[str, Manifest],
    ) -> None:
        news = Learnt(dict(entries), dict(listed), dict(manifests))
        if self._learnt == (self._database.opened, news):
            return
        with self._database.writing() as connection:
            opened = self._database.opened
            last = self._learnt[1] if self._learnt and self._learnt[0] == opened else None
            learn(connection, news, last, self._clock())
        self._learnt = opened, news

    def restore(self, entries: Mapping[str, ShardEntry]) -> int:
        now = self._clock()
        whole = {key: entry for key, entry in entries.items() if entry.public_key}
        with self._database.writing() as connection:
            there = sql_devices.load(connection, whole.keys())
            lost = {
                key: restored(key, entry, now)
                for key, entry in whole.items()
                if key not in there or there[key].state in WAITING
            }
            put(connection, entry_table, [entry_row(key, entries[key]) for key in lost])
            sql_devices.save(connection, there, lost)
        self._learnt = None  # the tables hold entries now that learn() has not seen
        return len(lost)

    def record(self, fleet: str, decisions: Iterable[Decision]) -> None:
        rows = [_decision_row(fleet, decision) for decision in decisions]
        if rows:
            with self._database.writing() as connection:
                put_new(connection, decision_table, rows)

    # What the device API asks

    def nonce_secret(self) -> bytes:
        with self._database.writing() as connection:
            put_new(connection, meta, [{"name": _SECRET, "value": secrets.token_hex(32)}])
            value = connection.scalar(select(meta.c.value).where(meta.c.name == _SECRET))
        return bytes.fromhex(str(value))

    def identities(self, keys: Collection[str]) -> Mapping[str, Identity]:
        found: dict[str, Identity] = {}
        with self._database.reading() as connection:
            for chunk in chunks(keys):
                query = select(devices.c.key, devices.c.public_key, devices.c.state)
                for row in connection.execute(query.where(devices.c.key.in_(chunk))):
                    found[row.key] = Identity(row.public_key, EnrolState(row.state))
        return found

    def enrol(
        self, candidate: Candidate, nonce: Nonce, now: datetime, *, max_pending: int
    ) -> Device | NonceSpent | PendingFull:
        with self._database.writing() as connection:
            return sql_devices.enrol(connection, candidate, nonce, now, max_pending)

    def ingest(self, submissions: Sequence[Submission], now: datetime) -> tuple[Receipt, ...]:
        with self._database.writing() as connection:
            return ingest(connection, submissions, now)

    # What the operator API asks

    def ping(self) -> None:
        with self._database.reading() as connection:
            connection.execute(select(meta.c.name).limit(1)).all()

    def device(self, key: str) -> Device | None:
        with self._database.reading() as connection:
            row = connection.execute(select(devices).where(devices.c.key == key)).one_or_none()
        return None if row is None else device_of(row)

    def devices(self, query: DeviceQuery) -> tuple[Device, ...]:
        with self._database.reading() as connection:
            return tuple(map(device_of, connection.execute(sql_devices.query_of(query))))

    def devices_by_state(self) -> Mapping[EnrolState, int]:
        with self._database.reading() as connection:
            return sql_devices.by_state(connection)

    def rule(self, ruling: Ruling, now: datetime) -> Device | NameHeld | None:
        with self._database.writing() as connection:
            return sql_devices.rule(connection, ruling, now)

    def history(
        self, *, fleet: str | None, rollout: str | None, limit: int
    ) -> tuple[tuple[str, Decision], ...]:
        query = (
            select(decision_table)
            .order_by(decision_table.c.at.desc(), decision_table.c.id)
            .limit(limit)
        )
        if fleet is not None:
            query = query.where(decision_table.c.fleet == fleet)
        if rollout is not None:
            query = query.where(decision_table.c.rollout == rollout)
        with self._database.reading() as connection:
            return tuple(
                (row.fleet, Decision(row.at, row.kind, row.reason, row.rollout, row.stage))
                for row in connection.execute(query)
            )


def _decision_row(fleet: str, decision: Decision) -> dict[str, object]:
    return {
        "id": sha256_hex(f"{fleet}\0{json_text(decision)}".encode()),
        "fleet": fleet,
        "at": decision.at,
        "kind": decision.kind,
        "reason": decision.reason,
        "rollout": decision.rollout,
        "stage": decision.stage,
    }
