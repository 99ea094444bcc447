"""Idempotency keys."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table."""
    op.create_table(
        "idempotency_keys",
        sa.Column("user_id", sa.String(64), primary_key=True),
        sa.Column("credential_id", sa.String(64), primary_key=True),
        sa.Column("key_hash", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(36), nullable=False),
        sa.Column("leased_until", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.String(8)),
        sa.Column("agent_id", sa.String(64), nullable=False),
        sa.Column("sealed", sa.Text),
    )
    op.create_index("idempotency_keys_user_id_expires_at", "idempotency_keys", ["user_id", "expires_at"])
    op.create_index("idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])
    op.create_index("idempotency_keys_holder", "idempotency_keys", ["holder"])


def downgrade() -> None:
    """Drops it."""
    op.drop_table("idempotency_keys")
