"""The Alembic environment of the orchestrator's database."""

from shared.alembic_run import run_in_alembic

run_in_alembic()
