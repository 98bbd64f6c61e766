"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _devices()
    _reports()
    _decisions()


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)


TABLES = (
    "devices",
    "device_labels",
    "entries",
    "listed_keys",
    "state_counters",
    "running_counters",
    "events",
    "attempts",
    "counters",
    "spent_nonces",
    "rollouts",
    "decisions",
    "audit",
    "meta",
)


def _devices() -> None:
    op.create_table(
        "devices",
        sa.Column("key", sa.String(length=71), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("public_key", sa.Text()),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger(), nullable=False),
        sa.Column("assigned", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("fleet", sa.String(length=63)),
        sa.Column("last_seen", sa.BigInteger()),
        sa.Column("heard_at", sa.BigInteger()),
        sa.Column("running", sa.String(length=16)),
        sa.Column("heard", sa.Text()),
        sa.Column("facts", sa.Text()),
        sa.Column("journal", sa.String(length=32)),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("resync_asks", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("devices_by_fleet", "devices", ["fleet", "key"])
    op.create_index("devices_by_name", "devices", ["name"])
    op.create_index("devices_by_state", "devices", ["state", "key"])
    op.create_table(
        "device_labels",
        sa.Column("key", sa.String(length=71), nullable=False),
        sa.Column("label", sa.String(length=253), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", "label"),
    )
    op.create_index("device_labels_by_value", "device_labels", ["label", "value", "key"])
    op.create_table(
        "entries",
        sa.Column("key", sa.String(length=71), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("entries_by_name", "entries", ["name"])
    op.create_table(
        "listed_keys",
        sa.Column("key", sa.String(length=71), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("listed_keys_by_name", "listed_keys", ["name"])
    op.create_table(
        "state_counters",
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("state"),
    )
    op.create_table(
        "running_counters",
        sa.Column("fleet", sa.String(length=63), nullable=False),
        sa.Column("set", sa.String(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fleet", "set"),
    )


def _reports() -> None:
    op.create_table(
        "events",
        sa.Column("key", sa.String(length=71), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("rollout", sa.String(length=10)),
        sa.Column("set", sa.String(length=16)),
        sa.Column("attempt", sa.BigInteger()),
        sa.Column("state", sa.Text()),
        sa.Column("outcome", sa.String(length=16)),
        sa.Column("failure", sa.String(length=16)),
        sa.Column("code", sa.Text()),
        sa.Column("message", sa.Text()),
        sa.PrimaryKeyConstraint("key", "id"),
    )
    op.create_index("events_by_time", "events", ["key", "received_at"])
    op.create_table(
        "attempts",
        sa.Column("key", sa.String(length=71), nullable=False),
        sa.Column("rollout", sa.String(length=10), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("set", sa.String(length=16)),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("awaits_return", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("last_event_at", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.Text()),
        sa.Column("outcome", sa.String(length=16)),
        sa.Column("failure", sa.String(length=16)),
        sa.Column("finished_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("key", "rollout", "attempt"),
    )
    op.create_index("attempts_open", "attempts", ["rollout", "outcome", "last_event_at"])
    op.create_index("attempts_uncounted", "attempts", ["rollout", "stage"])
    op.create_table(
        "counters",
        sa.Column("rollout", sa.String(length=10), nullable=False),
        sa.Column("stage", sa.String(length=63), nullable=False),
        sa.Column("counter", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "stage", "counter"),
    )
    op.create_table(
        "spent_nonces",
        sa.Column("nonce", sa.String(length=80), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("nonce"),
    )
    op.create_index("spent_nonces_by_expiry", "spent_nonces", ["expires"])


def _decisions() -> None:
    op.create_table(
        "rollouts",
        sa.Column("rollout", sa.String(length=10), nullable=False),
        sa.Column("fleet", sa.String(length=63), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("rollout"),
    )
    op.create_index("rollouts_current", "rollouts", ["is_current", "rollout"])
    op.create_table(
        "decisions",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("fleet", sa.String(length=63), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rollout", sa.String(length=10)),
        sa.Column("stage", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("decisions_by_fleet", "decisions", ["fleet", "at"])
    op.create_index("decisions_by_rollout", "decisions", ["rollout", "at"])
    op.create_index("decisions_by_time", "decisions", ["at"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
