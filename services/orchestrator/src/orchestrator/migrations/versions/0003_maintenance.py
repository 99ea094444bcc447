"""Agents' maintenance, and how many calls each works on at once."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns: nobody is in maintenance, and everybody works on 100 calls at once."""
    op.add_column("agents", sa.Column("max_concurrency", sa.Integer, nullable=False, server_default="100"))
    op.add_column("agents", sa.Column("in_maintenance", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Drops them."""
    with op.batch_alter_table("agents") as agents:
        agents.drop_column("in_maintenance")
        agents.drop_column("max_concurrency")
