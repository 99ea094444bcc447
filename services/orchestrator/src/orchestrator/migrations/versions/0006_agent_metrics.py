"""What agents' attempts come to: by minute, by hour, and by day and since ever."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "agent_minutes",
        sa.Column("agent_id", sa.String(36), primary_key=True),
        sa.Column("minute", sa.BigInteger, primary_key=True),
        sa.Column("replica", sa.String(32), primary_key=True),
        *_sums(),
    )
    op.create_index("agent_minutes_by_minute", "agent_minutes", ["minute", "agent_id"])
    op.create_table(
        "agent_hours",
        sa.Column("agent_id", sa.String(36), primary_key=True),
        sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
        *_sums(),
    )
    op.create_index("agent_hours_by_hour", "agent_hours", ["hour"])
    op.create_table(
        "agent_days",
        sa.Column("agent_id", sa.String(36), primary_key=True),
        sa.Column("day", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("replica", sa.String(32), primary_key=True),
        *_sums(),
    )


def downgrade() -> None:
    """Drops them."""
    for table in ("agent_minutes", "agent_hours", "agent_days"):
        op.drop_table(table)


def _sums() -> list[sa.Column[Any]]:
    counts = ("success", "failed", "timeout", "refused", "cancelled", "prompt_tokens", "completion_tokens")
    return [
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in counts),
        sa.Column("latency_ms", sa.Float, nullable=False),
        sa.Column("latency", sa.Text, nullable=False),
        sa.Column("first_token", sa.Text, nullable=False),
    ]
