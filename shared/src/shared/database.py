"""SQL: one database per service, reads that see a snapshot and writes that never meet half-way."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.errors import Unavailable
from shared.sqlite_driver import DirectConnection

BEGIN = "peanut_begin"
BUSY_TIMEOUT_S = 10

_log = logging.getLogger(__name__)


class DatabaseUnavailable(Unavailable):
    """The database does not do what it is asked to."""

    reason = "database-unavailable"


class Database:
    """A service's database. Replicas on one machine share an SQLite file; its transactions keep them apart."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writing_engine = engine.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})
        self._reading_engine = engine.execution_options(**{BEGIN: None})

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """For a single SELECT, which is of one moment by itself. Raises DatabaseUnavailable."""
        with _translated():
            async with self._reading_engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads, with several statements of one moment. Raises DatabaseUnavailable."""
        with _translated():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes: committed at the end of the block, rolled back when it raises.

        It begins IMMEDIATE: an SQLite transaction that reads first and writes later can fail with a stale snapshot.
        Raises DatabaseUnavailable, and nothing was written.
        """
        with _translated():
            async with self._writing_engine.begin() as connection:
                yield connection


@contextmanager
def _translated() -> Iterator[None]:
    """Locked for too long, disk full, file damaged, server gone: the caller may try again, the log says what it is."""
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        _log.exception("database_unavailable")
        raise DatabaseUnavailable("The database cannot be used right now.") from error


@asynccontextmanager
async def open_database(url: str, *, connections: int = 4) -> AsyncIterator[Database]:
    """Opens the database at `url` (SQLAlchemy, async driver) and closes it at the end."""
    # What a statement holds (hashes, addresses) is not for the log, where its failure goes.
    engine = create_async_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "do_connect", _connect)
        use_sqlite_well(engine.sync_engine)
    try:
        yield Database(engine)
    finally:
        await engine.dispose()


def use_sqlite_well(engine: Any) -> None:
    """Durable commits, readers that never wait for a writer, and transactions that we begin ourselves."""
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)


def _connect(dialect: Any, _record: object, args: Any, options: Any) -> Any:
    return dialect.loaded_dbapi.connect(*args, async_creator_fn=DirectConnection, **options)


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin by itself, and only at the first write
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_S * 1000}",
        "journal_mode = WAL",
        "synchronous = FULL",  # an acknowledged commit survives a power failure
        "foreign_keys = ON",
        "trusted_schema = OFF",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get(BEGIN, "BEGIN")
    if statement is not None:
        connection.exec_driver_sql(statement)
