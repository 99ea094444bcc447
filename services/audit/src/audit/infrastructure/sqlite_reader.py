"""Reading the log from SQLite: from the file itself and not from a cache."""

import marshal
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from audit.application.ports import Filters, LogDamaged, LogUnavailable, StoredCheckpoint
from audit.domain.entry import Row
from audit.infrastructure.sqlite_connections import connect, meaning_of
from audit.infrastructure.sqlite_rows import COLUMNS, to_row
from shared.tlog.tiles import TILE_WIDTH

WAIT_FOR_LOCK_S = 2.0

_LAST = 'SELECT max("index") FROM entries'
_ROWS = f'SELECT {COLUMNS} FROM entries WHERE "index" BETWEEN ? AND ? ORDER BY "index"'  # noqa: S608  # constants
_TILE = "SELECT hashes FROM tiles WHERE level = ? AND number = ?"
_TILES = "SELECT number, hashes FROM tiles WHERE level = 0 AND number BETWEEN ? AND ? ORDER BY number"
_ERASURE = 'SELECT entry FROM erased WHERE "index" = ?'
_OF_PERSON = """
    SELECT "index" FROM entries WHERE "index" BETWEEN ? AND ? AND personal != '{}'
    AND ((? != '' AND user_id = ?) OR (? != '' AND names(personal, ?))) ORDER BY "index"
"""
_NEWEST_CHECKPOINT = "SELECT size, note, created_at FROM checkpoints ORDER BY size DESC LIMIT 1"
_CHECKPOINT_OF = "SELECT size, note, created_at FROM checkpoints WHERE size = ?"
_EQUAL = ("request_id", "user_id", "resource_id", "action", "resource_type", "outcome")
"""From what mostly finds few entries to what finds many."""


class SqliteLogReader:
    """Opens a new connection for each snapshot: SQLite's page cache would hide what was done to the file (0.2 ms)."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def snapshot(self) -> Iterator["SqliteSnapshot"]:
        """See LogReader."""
        if not self._file.exists():
            raise LogUnavailable("The audit log is not there.")
        try:
            connection = connect(self._file, wait_for_lock=WAIT_FOR_LOCK_S)
        except sqlite3.Error as error:
            raise meaning_of(error) from error
        try:
            with _translated():
                connection.execute("PRAGMA query_only = ON")
                connection.execute("BEGIN")
            yield SqliteSnapshot(connection)
        finally:
            connection.close()


class SqliteSnapshot:
    """See Snapshot."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def last_index(self) -> int:
        """See Snapshot."""
        with _translated():
            (last,) = self._connection.execute(_LAST).fetchone()
        return -1 if last is None else int(last)

    def rows(self, first: int, last: int) -> Iterator[Row]:
        """See Snapshot."""
        with _translated():
            yield from map(to_row, self._connection.execute(_ROWS, (first, last)))

    def total(self, filters: Filters, after: int = -1) -> int:
        """See Snapshot."""
        where, values = _where(filters)
        if not values:
            return self.last_index() - after
        if after >= 0:
            where, values = f'{where} AND "index" > ?', [*values, after]
        with _translated():
            (total,) = self._connection.execute(f"SELECT count(*) FROM entries{where}", values).fetchone()  # noqa: S608
        return int(total)

    def newest(self, filters: Filters, limit: int, offset: int) -> list[Row]:
        """See Snapshot. Text that is not UTF-8 any more is shown with replacement characters."""
        where, values = _where(filters)
        if not values:  # no need to count off what a place in the log says
            where, values, offset = ' WHERE "index" <= ?', [self.last_index() - offset], 0
        sql = f'SELECT {COLUMNS} FROM entries{where} ORDER BY "index" DESC LIMIT ? OFFSET ?'  # noqa: S608
        self._connection.text_factory = _lenient
        try:
            with _translated():
                return [to_row(row) for row in self._connection.execute(sql, (*values, limit, offset))]
        finally:
            self._connection.text_factory = str

    def fingerprints(self, indexes: Sequence[int]) -> dict[int, bytes]:
        """See Snapshot."""
        marks = ", ".join("?" * len(indexes))
        with _translated():
            return dict(
                self._connection.execute(
                    f'SELECT "index", fingerprint FROM entries WHERE "index" IN ({marks})',  # noqa: S608
                    list(indexes),
                )
            )

    def tile(self, level: int, number: int) -> bytes | None:
        """See Snapshot."""
        with _translated():
            row = self._connection.execute(_TILE, (level, number)).fetchone()
        if row is not None and not isinstance(row[0], bytes):
            raise LogDamaged("a tile is no tile")
        return None if row is None else row[0]

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        """See Snapshot."""
        with _translated():
            return _to_checkpoint(self._connection.execute(_NEWEST_CHECKPOINT).fetchone())

    def checkpoint_of(self, size: int) -> StoredCheckpoint | None:
        """See Snapshot."""
        with _translated():
            return _to_checkpoint(self._connection.execute(_CHECKPOINT_OF, (size,)).fetchone())

    def digest(self, first: int, last: int) -> bytes:
        """See Snapshot. This form of marshal writes equal values as equal bytes, with their types and lengths."""
        with _translated():
            rows = self._connection.execute(_ROWS, (first, last)).fetchall()
            tiles = (first // TILE_WIDTH, (last + 1) // TILE_WIDTH - 1)
            leaves = self._connection.execute(_TILES, tiles).fetchall()
        return sha256(marshal.dumps((rows, leaves), 2)).digest()

    def erasure_of(self, index: int) -> int | None:
        """See Snapshot."""
        with _translated():
            row = self._connection.execute(_ERASURE, (index,)).fetchone()
        return None if row is None or not isinstance(row[0], int) else row[0]

    def of_person(self, user_id: str, email: str, first: int, last: int) -> list[int]:
        """See Snapshot."""
        self._connection.create_function("names", 2, _names, deterministic=True)
        self._connection.text_factory = _lenient
        try:
            with _translated():
                found = self._connection.execute(_OF_PERSON, (first, last, user_id, user_id, email, email.casefold()))
                return [index for (index,) in found]
        finally:
            self._connection.text_factory = str


def _to_checkpoint(row: Sequence[Any] | None) -> StoredCheckpoint | None:
    if row is not None and not (isinstance(row[1], str) and isinstance(row[2], int)):
        raise LogDamaged("a checkpoint is no checkpoint")
    return None if row is None else StoredCheckpoint(*row)


def _names(personal: object, email: str) -> bool:
    """Whether these personal values hold that e-mail address."""
    try:
        value = orjson.loads(personal)["userEmail"]["value"]  # type: ignore[arg-type]  # a forged column holds anything
    except (ValueError, TypeError, KeyError):
        return False
    return isinstance(value, str) and value.casefold() == email


def _where(filters: Filters) -> tuple[str, list[object]]:
    """The first condition picks the index; a plus keeps SQLite from picking that of another, which it cannot judge."""
    conditions: list[str] = []
    values: list[object] = []
    for column in _EQUAL:
        if (value := getattr(filters, column)) is not None:
            conditions.append(f"{'+' if conditions else ''}{column} = ?")
            values.append(value)
    plus = "+" if conditions else ""
    for comparison, moment in ((">=", filters.start), ("<=", filters.end)):
        if moment is not None:
            conditions.append(f"{plus}timestamp {comparison} ?")
            values.append(moment)
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), values


def _lenient(text: bytes) -> str:
    return text.decode(errors="replace")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise meaning_of(error) from error
