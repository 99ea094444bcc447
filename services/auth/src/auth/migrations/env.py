"""What Alembic runs."""

from shared.alembic_run import run_in_alembic

from auth.infrastructure.tables import metadata

run_in_alembic(metadata)
