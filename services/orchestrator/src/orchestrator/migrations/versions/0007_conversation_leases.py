"""Leases of conversations are renewed, and found by their holders."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the index."""
    op.create_index("conversations_holder", "conversations", ["holder"])


def downgrade() -> None:
    """Drops it."""
    op.drop_index("conversations_holder", "conversations")
