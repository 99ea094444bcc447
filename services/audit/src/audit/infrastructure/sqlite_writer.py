"""Writing the log into SQLite: one transaction per group of entries, committed on the event loop itself.

Measured on two noisy cores, ext4, synchronous=FULL, p50 of a commit of 1 / 16 / 100 entries, the chain included:
sqlite3 on the loop 0.41 / 1.4 / 5.6 ms, sqlite3 on a writer thread 0.55 / 1.9-3.7 / 6.7 ms, SQLAlchemy Core on a writer
thread 1.8 / 4.2-7.3 / 9.3 ms. While a commit blocks the loop, the next group piles up in the socket.
"""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import orjson

from audit.application.ports import Commit, ErasedPart, LogDamaged, LogUnavailable, StoredCheckpoint
from audit.domain.chain import EMPTY, Head
from audit.domain.entry import Draft, Row, seal
from audit.domain.personal import PERSONAL_FIELDS, SALT_BYTES
from audit.domain.tree import Tile
from audit.infrastructure.sqlite_checkpoints import checkpointing
from audit.infrastructure.sqlite_connections import connect, is_busy, meaning_of
from audit.infrastructure.sqlite_erasures import empty_wal, erase
from audit.infrastructure.sqlite_rows import COLUMNS, to_row

LOCK_WITHIN_S = 0.6
TRY_LOCK_EVERY_S = 0.001
SAY_AGAIN_AFTER_S = 5.0
KEPT_CHECKPOINTS = 100
"""Proofs need the tiles only; these are for people who compare."""
SALTS_BYTES = SALT_BYTES * len(PERSONAL_FIELDS)

_INSERT = f"INSERT INTO entries ({COLUMNS}) VALUES ({', '.join('?' * 13)})"  # noqa: S608  # constants
_KNOWN = 'SELECT id, phase, "index", fingerprint FROM entries WHERE id IN (SELECT value FROM json_each(?))'
_HEAD = 'SELECT "index", fingerprint FROM entries ORDER BY "index" DESC LIMIT 1'
_AT = 'SELECT fingerprint FROM entries WHERE "index" = ?'
_TAKE_BACK = 'DELETE FROM entries WHERE "index" > ?'
_OPEN = """
    INSERT OR IGNORE INTO open_intents (id, conclude_by)
    SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM entries WHERE id = ? AND phase = 'outcome')
"""
_ANY_OPEN = "SELECT 1 FROM open_intents LIMIT 1"
_PROBE = "UPDATE probe SET writes = writes + 1"
_NEWEST_SIZE = "SELECT coalesce(max(size), 0) FROM checkpoints"
_KEEP_TILE = "INSERT OR REPLACE INTO tiles (level, number, hashes) VALUES (?, ?, ?)"
_KEEP_CHECKPOINT = "INSERT INTO checkpoints (size, note, created_at) VALUES (?, ?, ?)"
_FORGET_CHECKPOINTS = """
    DELETE FROM checkpoints WHERE size <= (SELECT size FROM checkpoints ORDER BY size DESC LIMIT 1 OFFSET ?)
"""
_COSIGN = "UPDATE checkpoints SET note = note || ? WHERE size = ? AND instr(note, ?) = 0"
_CONCLUDE = "DELETE FROM open_intents WHERE id = ?"
_OVERDUE = f"""
    SELECT {", ".join(f"entries.{name.strip()}" for name in COLUMNS.split(","))}
    FROM open_intents JOIN entries ON entries.id = open_intents.id AND entries.phase = 'intent'
    WHERE open_intents.conclude_by < ? ORDER BY open_intents.conclude_by LIMIT ?
"""  # noqa: S608  # constants

T = TypeVar("T")

_log = logging.getLogger(__name__)


class SqliteLogWriter:
    """The only writer of this process; other processes may write the same file. Made by `open_writer`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._turn = asyncio.Lock()
        self._said = float("-inf")
        self.commits = 0
        """How many transactions this process has committed."""

    async def commit(self, drafts: Sequence[Draft], seen: Head) -> Commit:
        """See LogWriter."""
        return await self._in_transaction(lambda connection: _record(connection, drafts, seen))

    async def try_writing(self) -> None:
        """See LogWriter. It really writes: taking the lock alone succeeds on a full disk."""
        await self._in_transaction(lambda connection: connection.execute(_PROBE))

    async def overdue(self, before: int, limit: int) -> list[Row]:
        """See LogWriter."""
        return await self._in_transaction(
            lambda connection: [to_row(row) for row in connection.execute(_OVERDUE, (before, limit))]
        )

    async def erase(self, indexes: Sequence[int], draft: Callable[[Sequence[int]], Draft], seen: Head) -> ErasedPart:
        """See LogEraser."""
        return await self._in_transaction(
            lambda connection: erase(connection, indexes, lambda found: _record(connection, [draft(found)], seen))
        )

    async def forget(self) -> None:
        """See LogEraser."""
        await empty_wal(self._file)

    async def extend(self, old_size: int, tiles: Sequence[Tile], checkpoint: StoredCheckpoint) -> bool:
        """See TreeStore."""

        def keep(connection: sqlite3.Connection) -> bool:
            (newest,) = connection.execute(_NEWEST_SIZE).fetchone()
            if newest != old_size:
                return False
            connection.executemany(_KEEP_TILE, tiles)
            connection.execute(_KEEP_CHECKPOINT, (checkpoint.size, checkpoint.note, checkpoint.created_at))
            connection.execute(_FORGET_CHECKPOINTS, (KEPT_CHECKPOINTS,))
            return True

        return await self._in_transaction(keep)

    async def add_cosignature(self, size: int, line: str) -> None:
        """See TreeStore."""
        await self._in_transaction(lambda connection: connection.execute(_COSIGN, (line, size, line)))

    def close(self) -> None:
        """Closes the file; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    async def _in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        async with self._turn:
            connection = await self._begin()
            try:
                result = work(connection)
                connection.execute("COMMIT")
                self.commits += 1
                return result
            except (sqlite3.Error, OSError) as error:
                raise self._failed(error) from error
            except BaseException:
                self.close()
                raise

    async def _begin(self) -> sqlite3.Connection:
        """A connection that holds the write lock. Another process keeps it for a millisecond at a time."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + LOCK_WITHIN_S
        while True:
            try:
                connection = self._current()
                connection.execute("BEGIN IMMEDIATE")
                return connection
            except (sqlite3.Error, OSError) as error:
                if not isinstance(error, sqlite3.Error) or not is_busy(error) or loop.time() > give_up:
                    raise self._failed(error) from error
            await asyncio.sleep(TRY_LOCK_EVERY_S)

    def _current(self) -> sqlite3.Connection:
        inode = os.stat(self._file).st_ino
        if self._connection is not None and inode != self._inode:
            _log.error("log_file_was_replaced")  # what it holds now is compared with what this process has seen
            self.close()
        if self._connection is None:
            self._connection = connect(self._file, wait_for_lock=0)
            self._inode = inode
        return self._connection

    def _failed(self, error: sqlite3.Error | OSError) -> LogUnavailable:
        self.close()  # rolls back, and a file that was full or gone is opened afresh
        if time.monotonic() > self._said + SAY_AGAIN_AFTER_S:  # callers try again many times a second
            self._said = time.monotonic()
            _log.error("log_not_written", extra={"error": type(error).__name__, "detail": str(error)})
        if isinstance(error, sqlite3.Error) and isinstance(meaning_of(error), LogDamaged):
            return LogUnavailable("The audit log is damaged; nothing was recorded.")
        return LogUnavailable("The audit log cannot be reached now; nothing was recorded.")


@asynccontextmanager
async def open_writer(file: Path) -> AsyncIterator[SqliteLogWriter]:
    """Opens the log for writing and closes it at the end."""
    writer = SqliteLogWriter(file)
    try:
        async with checkpointing(file, lambda: writer.commits):
            yield writer
    finally:
        writer.close()


def _record(connection: sqlite3.Connection, drafts: Sequence[Draft], seen: Head) -> Commit:
    before = _head(connection)
    try:
        places = _append(connection, drafts, before)
    except sqlite3.IntegrityError:  # an entry that is there already; so seldom that looking first would only cost
        connection.execute(_TAKE_BACK, (before.index,))
        places = _append_new(connection, drafts, before)
    _keep_open_intents(connection, drafts)
    return Commit(places, before, max(before, *places), before == seen or _stands(connection, seen))


def _append(connection: sqlite3.Connection, drafts: Sequence[Draft], head: Head) -> list[Head]:
    """The places of the drafts, in order after `head`. Raises IntegrityError where one is in the log already."""
    salts = os.urandom(SALTS_BYTES * len(drafts))
    rows: list[Row] = []
    places: list[Head] = []
    for number, draft in enumerate(drafts):
        row = seal(draft, head, salts[number * SALTS_BYTES : (number + 1) * SALTS_BYTES])
        head = row.head
        rows.append(row)
        places.append(head)
    connection.executemany(_INSERT, rows)
    return places


def _append_new(connection: sqlite3.Connection, drafts: Sequence[Draft], head: Head) -> list[Head]:
    """The same where some drafts are in the log already, or here twice: those have the place they had first."""
    ids = orjson.dumps([draft.id for draft in drafts]).decode()
    places = {
        (id, phase): Head(index, fingerprint) for id, phase, index, fingerprint in connection.execute(_KNOWN, (ids,))
    }
    new: dict[tuple[str, str], Draft] = {}
    for draft in drafts:
        if (draft.id, draft.phase) not in places:
            new.setdefault((draft.id, draft.phase), draft)
    places.update(zip(new, _append(connection, list(new.values()), head), strict=True))
    return [places[draft.id, draft.phase] for draft in drafts]


def _keep_open_intents(connection: sqlite3.Connection, drafts: Sequence[Draft]) -> None:
    opened = [
        (draft.id, draft.conclude_by, draft.id)
        for draft in drafts
        if draft.conclude_by is not None and draft.phase == "intent"
    ]
    if opened:
        connection.executemany(_OPEN, opened)
    if connection.execute(_ANY_OPEN).fetchone():  # mostly there is none: dispatches have no intents
        connection.executemany(_CONCLUDE, [(draft.id,) for draft in drafts if draft.phase == "outcome"])


def _head(connection: sqlite3.Connection) -> Head:
    row = connection.execute(_HEAD).fetchone()
    return Head(*row) if row else EMPTY


def _stands(connection: sqlite3.Connection, seen: Head) -> bool:
    row = connection.execute(_AT, (seen.index,)).fetchone()
    return seen == EMPTY or (row is not None and row[0] == seen.fingerprint)
