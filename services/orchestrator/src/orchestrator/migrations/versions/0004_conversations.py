"""Stored conversations."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables."""
    op.create_table(
        "conversations",
        sa.Column("number", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("agent_id", sa.String(64), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("sealed_title", sa.Text, nullable=False),
        sa.Column("exchanges", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.String(36)),
        sa.Column("busy_until", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("owner", "id", name="conversations_owner_id"),
    )
    op.create_index("conversations_owner_updated_at", "conversations", ["owner", "updated_at"])
    op.create_index("conversations_expires_at", "conversations", ["expires_at"])
    op.create_table(
        "conversation_exchanges",
        sa.Column(
            "conversation", sa.String(36), sa.ForeignKey("conversations.number", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("place", sa.Integer, primary_key=True),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("asked_at", sa.BigInteger, nullable=False),
        sa.Column("answered_at", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Drops them."""
    op.drop_table("conversation_exchanges")
    op.drop_table("conversations")
