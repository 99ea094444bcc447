"""Alembic at work: what upgrades a schema. Imported only when there is something to upgrade."""

from alembic import command, context
from alembic.config import Config
from sqlalchemy import MetaData, create_engine, pool
from sqlalchemy.engine import make_url

from shared.database import use_sqlite_well


def upgrade(url: str, package: str) -> None:
    """Brings the database at `url` to the newest revision in `<package>.migrations`."""
    config = Config()
    config.set_main_option("script_location", f"{package}:migrations")
    config.attributes["url"] = url
    command.upgrade(config, "head")


def run_in_alembic(metadata: MetaData | None = None) -> None:
    """What each service's Alembic environment does; called by its `migrations/env.py`."""
    url = make_url(context.config.attributes["url"])
    engine = create_engine(url.set(drivername=url.get_backend_name()), poolclass=pool.NullPool)
    if url.get_backend_name() == "sqlite":
        use_sqlite_well(engine)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
