"""The migrated schema is the one the code speaks to."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from orchestrator.infrastructure import sql_agents, sql_conversations, sql_idempotency, sql_metrics, sql_usage
from orchestrator.infrastructure.sql_agents import METADATA
from shared.migrations import migrate


def test_the_migrations_make_exactly_the_tables(tmp_path: Path) -> None:
    migrate(f"sqlite+aiosqlite:///{tmp_path}/orchestrator.db", "orchestrator")

    engine = create_engine(f"sqlite:///{tmp_path}/orchestrator.db")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    engine.dispose()

    modules = (sql_agents, sql_conversations, sql_idempotency, sql_metrics, sql_usage)  # each adds its tables
    assert all(module.METADATA is METADATA for module in modules)
    assert differences == []
