"""What Alembic runs."""

from auth.infrastructure.tables import metadata
from shared.alembic_run import run_in_alembic

run_in_alembic(metadata)
