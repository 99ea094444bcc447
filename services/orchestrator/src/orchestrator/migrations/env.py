"""The Alembic environment of the orchestrator's database."""

from shared.migrations import run_in_alembic

run_in_alembic()
