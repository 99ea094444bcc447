"""aiosqlite with one hand-over to its thread for each statement.

aiosqlite makes four: for the cursor, to execute, to fetch and to close. Each takes 0.2-0.3 ms there and back while the
machine is idle, which was most of what a log-in cost beyond its hash.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite


class DirectCursor(aiosqlite.Cursor):
    """A cursor that has all rows in memory when it has executed: for results that are bounded, as ours are."""

    _rows: Sequence[Any] = ()

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> "DirectCursor":
        """Executes the statement and fetches its rows."""
        self._rows = await self._execute(self._execute_and_fetch, sql, parameters or ())  # type: ignore[no-untyped-call]  # aiosqlite leaves it bare
        return self

    async def fetchall(self) -> Sequence[Any]:
        """The rows that `execute` has fetched."""
        return self._rows

    async def close(self) -> None:
        """Nothing: a statement whose rows are all fetched holds nothing in the database."""

    def _execute_and_fetch(self, sql: str, parameters: Any) -> Sequence[Any]:
        self._cursor.execute(sql, parameters)
        return self._cursor.fetchall() if self._cursor.description else ()


class DirectConnection(aiosqlite.Connection):
    """A connection whose cursors are such ones. `check_same_thread` must be off, as SQLAlchemy has it for files."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(lambda: self._open(*args, **options), iter_chunk_size=64)
        self._thread.daemon = True  # as SQLAlchemy does: a connection that nobody closed must not keep the process
        self._uncertain = False
        self._opened: sqlite3.Connection | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        """Ends the thread, which first closes what it has opened, also for somebody who was cancelled meanwhile."""
        self._tx.put_nowait((None, self._close_opened))
        return super().stop()

    @asynccontextmanager
    async def cursor(self) -> AsyncIterator[DirectCursor]:  # type: ignore[override]  # a context manager as well
        """A cursor; making one does not touch the database."""
        yield DirectCursor(self, self._conn.cursor())

    async def rollback(self) -> None:
        """Rolls back what is open; the thread is not asked when nothing can be."""
        if self._uncertain or self._conn.in_transaction:
            await super().rollback()
            self._uncertain = False

    def _open(self, *args: Any, **options: Any) -> sqlite3.Connection:
        self._opened = sqlite3.connect(*args, **options)
        return self._opened

    def _close_opened(self) -> None:
        if self._opened is not None:
            self._opened.close()

    async def _execute(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        was_uncertain, self._uncertain = self._uncertain, True
        # Cancelled here, it may still be done.
        result = await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]  # aiosqlite leaves it bare
        self._uncertain = was_uncertain
        return result
