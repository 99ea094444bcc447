"""The log: entries as they were hashed, intents that wait for their outcome, and a row to try writing with"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Integer = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "entries",
        sa.Column("index", Integer, primary_key=True, autoincrement=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("personal", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("resource_type", sa.Text, nullable=False),
        sa.Column("resource_id", sa.Text, nullable=False),
        sa.Column("timestamp", sa.Text, nullable=False),
    )
    op.create_index("entries_id_phase", "entries", ["id", "phase"], unique=True)
    for column in ("request_id", "action", "outcome", "user_id", "resource_type", "resource_id", "timestamp"):
        op.create_index(f"entries_{column}", "entries", [column])
    op.create_table(
        "open_intents",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("conclude_by", Integer, nullable=False),
    )
    op.create_index("open_intents_conclude_by", "open_intents", ["conclude_by"])
    op.create_table(
        "probe",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("writes", Integer, nullable=False),
    )
    op.execute("INSERT INTO probe (id, writes) VALUES (0, 0)")
