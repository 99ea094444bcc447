"""Connections to the log's SQLite file, and what SQLite's errors mean."""

import sqlite3
from pathlib import Path

from audit.application.ports import LogDamaged, LogUnavailable

CHECKPOINT_AT_THE_LATEST = 8000
"""Pages in the write-ahead log at which a commit checkpoints by itself; `checkpointing` mostly comes before."""

_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_INTERRUPT,
}


def connect(file: Path, *, wait_for_lock: float) -> sqlite3.Connection:
    """A connection that begins its transactions itself. The file must exist: an empty new one would be no log."""
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=wait_for_lock,
        check_same_thread=False,
        cached_statements=64,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")  # an acknowledged commit survives a power failure
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten, in whatever page it stood
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_AT_THE_LATEST}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def meaning_of(error: sqlite3.Error) -> LogUnavailable | LogDamaged:
    """What an error of SQLite says about the log: out of reach for now, or no longer a log."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _PASSING:
        return LogUnavailable("The audit log cannot be reached now; nothing was recorded.")
    return LogDamaged(str(error))


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else holds the lock."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
