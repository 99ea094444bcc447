"""Alembic's entry: the kernel knows how a service's migrations run."""

from shared.alembic_run import run_in_alembic

run_in_alembic()
