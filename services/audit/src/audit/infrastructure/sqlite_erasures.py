"""Erasing personal values in SQLite, so that their bytes are gone and not only unreachable."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import orjson

from audit.application.ports import Commit, ErasedPart, LogUnavailable
from audit.domain.entry import has_its_values
from audit.domain.personal import NO_VALUES
from audit.infrastructure.sqlite_connections import connect
from audit.infrastructure.sqlite_rows import COLUMNS, to_row

EMPTY_WITHIN_S = 30.0
TRY_EVERY_S = 0.1
WAIT_FOR_READERS_S = 0.05
"""For so long at a time nobody can write; whoever reads is mostly done by then."""

_ROWS = f"""
    SELECT {COLUMNS} FROM entries WHERE "index" IN (SELECT value FROM json_each(?)) AND personal != '{NO_VALUES}'
    ORDER BY "index"
"""  # noqa: S608  # constants
_ERASE = f"UPDATE entries SET personal = '{NO_VALUES}' WHERE \"index\" = ?"  # noqa: S608  # a constant
_NOTE = 'INSERT INTO erased ("index", entry) VALUES (?, ?)'


def erase(
    connection: sqlite3.Connection, indexes: Sequence[int], record: Callable[[Sequence[int]], Commit]
) -> ErasedPart:
    """Takes the values of those entries that have them as they were written, and records which.

    Deleted bytes are overwritten with zeros: the connection has `secure_delete`.
    """
    rows = [to_row(values) for values in connection.execute(_ROWS, (orjson.dumps(indexes).decode(),))]
    sound = [row for row in rows if has_its_values(row)]
    if not sound:
        return ErasedPart(left=len(rows))
    commit = record([row.index for row in sound])
    connection.executemany(_ERASE, [(row.index,) for row in sound])
    connection.executemany(_NOTE, [(row.index, commit.places[0].index) for row in sound])
    fields = sum(len(orjson.loads(row.personal)) for row in sound)
    return ErasedPart(commit, len(sound), fields, len(rows) - len(sound))


async def empty_wal(file: Path) -> None:
    """Returns once the write-ahead log, which holds pages as they were, is empty. Raises LogUnavailable."""
    give_up = asyncio.get_running_loop().time() + EMPTY_WITHIN_S
    while not await asyncio.to_thread(_emptied, file):
        if asyncio.get_running_loop().time() > give_up:
            raise LogUnavailable("The values are erased, but copies of them could not be cleared away yet; ask again.")
        await asyncio.sleep(TRY_EVERY_S)


def _emptied(file: Path) -> bool:
    try:
        with closing(connect(file, wait_for_lock=WAIT_FOR_READERS_S)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # most of it, beside those who write
            (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    return not is_busy
