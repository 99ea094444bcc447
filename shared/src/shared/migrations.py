"""Schema migrations: Alembic, run before a service starts, by one process at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from sqlalchemy import MetaData, create_engine, pool
from sqlalchemy.engine import make_url

from shared.database import use_sqlite_well


def migrate(url: str, package: str) -> None:
    """Brings the database at `url` to the newest revision in `<package>.migrations`."""
    config = Config()
    config.set_main_option("script_location", f"{package}:migrations")
    config.attributes["url"] = url
    with _alone(url):
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


@contextmanager
def _alone(url: str) -> Iterator[None]:
    path = make_url(url).database
    if not url.startswith("sqlite") or path is None:
        yield  # a server's own transactional DDL keeps two migrations apart
        return
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(f"{file}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file.touch(mode=0o600)  # before anything is in it; SQLite gives its WAL the same mode
        file.chmod(0o600)
        yield
