"""The tables of the gateway's database. Migrations make them; a test compares the two."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Timestamp(TypeDecorator[datetime]):
    """A time with its zone, kept as microseconds since the epoch: exact and the same everywhere."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's signature
        return None if value is None else _EPOCH + timedelta(microseconds=value)


METADATA = MetaData()

devices = Table(
    "devices",
    METADATA,
    Column("key", String(71), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("public_key", Text),
    Column("state", String(16), nullable=False),
    Column("enrolled_at", Timestamp, nullable=False),
    Column("assigned", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("fleet", String(63)),
    Column("last_seen", Timestamp),
    Column("heard_at", Timestamp),
    Column("running", String(16)),
    Column("heard", Text),
    Column("facts", Text),
    Column("journal", String(32)),
    Column("last_seq", BigInteger, nullable=False),
    Column("resync_asks", Integer, nullable=False),
    Index("devices_by_state", "state", "key"),
    Index("devices_by_name", "name"),
    Index("devices_by_fleet", "fleet", "key"),
)

device_labels = Table(
    "device_labels",
    METADATA,
    Column("key", String(71), primary_key=True),
    Column("label", String(253), primary_key=True),
    Column("value", Text, nullable=False),
    Index("device_labels_by_value", "label", "value", "key"),
)

entries = Table(
    "entries",
    METADATA,
    Column("key", String(71), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("document", Text, nullable=False),
    Index("entries_by_name", "name"),
)

listed_keys = Table(
    "listed_keys",
    METADATA,
    Column("key", String(71), primary_key=True),
    Column("name", String(63), nullable=False),
    Index("listed_keys_by_name", "name"),
)

rollouts = Table(
    "rollouts",
    METADATA,
    Column("rollout", String(10), primary_key=True),
    Column("fleet", String(63), nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("is_current", Boolean, nullable=False),
    Column("document", Text, nullable=False),
    Index("rollouts_current", "is_current", "rollout"),
)

events = Table(
    "events",
    METADATA,
    Column("key", String(71), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("received_at", Timestamp, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("rollout", String(10)),
    Column("set", String(16)),
    Column("attempt", BigInteger),
    Column("state", Text),
    Column("outcome", String(16)),
    Column("failure", String(16)),
    Column("code", Text),
    Column("message", Text),
    Index("events_by_time", "key", "received_at"),
    Index("events_by_age", "received_at"),
)

attempts = Table(
    "attempts",
    METADATA,
    Column("key", String(71), primary_key=True),
    Column("rollout", String(10), primary_key=True),
    Column("attempt", BigInteger, primary_key=True),
    Column("set", String(16)),
    Column("state", Text, nullable=False),
    Column("awaits_return", Boolean, nullable=False),
    Column("started_at", Timestamp, nullable=False),
    Column("last_event_at", Timestamp, nullable=False),
    Column("stage", Text),
    Column("outcome", String(16)),
    Column("failure", String(16)),
    Column("finished_at", Timestamp),
    Index("attempts_open", "rollout", "outcome", "last_event_at"),
    Index("attempts_uncounted", "rollout", "stage"),
)

counters = Table(
    "counters",
    METADATA,
    Column("rollout", String(10), primary_key=True),
    Column("stage", String(63), primary_key=True),
    Column("counter", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

running_counters = Table(
    "running_counters",
    METADATA,
    Column("fleet", String(63), primary_key=True),
    Column("set", String(16), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

state_counters = Table(
    "state_counters",
    METADATA,
    Column("state", String(16), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

decisions = Table(
    "decisions",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("fleet", String(63), nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("rollout", String(10)),
    Column("stage", Text),
    Index("decisions_by_fleet", "fleet", "at"),
    Index("decisions_by_rollout", "rollout", "at"),
    Index("decisions_by_time", "at"),
)

spent_nonces = Table(
    "spent_nonces",
    METADATA,
    Column("nonce", String(80), primary_key=True),
    Column("expires", Timestamp, nullable=False),
    Index("spent_nonces_by_expiry", "expires"),
)

audit = Table(
    "audit",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", Timestamp, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

meta = Table(
    "meta",
    METADATA,
    Column("name", String(32), primary_key=True),
    Column("value", Text, nullable=False),
)
