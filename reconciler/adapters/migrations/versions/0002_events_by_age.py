"""Old events are found without reading the others."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("events_by_age", "events", ["received_at"])


def downgrade() -> None:
    op.drop_index("events_by_age", "events")
