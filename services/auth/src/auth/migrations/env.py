"""What Alembic runs."""

from shared.migrations import run_in_alembic

from auth.infrastructure.tables import metadata

run_in_alembic(metadata)
