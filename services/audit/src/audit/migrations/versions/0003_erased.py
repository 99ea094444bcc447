"""Where the erasure of an entry's personal values is recorded: a hint for verification, which believes the entry alone"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Integer = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "erased",
        sa.Column("index", Integer, primary_key=True, autoincrement=False),
        sa.Column("entry", Integer, nullable=False),
    )
