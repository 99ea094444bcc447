"""Logs for tests: a migrated file, drafts to fill it with, and a forger's way into it."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

from audit.domain.chain import EMPTY, Head
from audit.domain.entry import Draft
from audit.domain.tree import RightEdge
from audit.infrastructure.sqlite_writer import SqliteLogWriter
from shared.ids import new_id
from shared.migrations import migrate
from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import leaf_hash
from shared.tlog.notes import Signer, note_of

T = TypeVar("T")


def new_log(file: Path) -> Path:
    migrate(f"sqlite:///{file}", "audit")
    return file


def draft(**fields: Any) -> Draft:
    id = fields.pop("id", None) or new_id()
    values: dict[str, Any] = {
        "source": "orchestrator",
        "id": id,
        "request_id": id,
        "phase": "outcome",
        "action": "agent.request",
        "outcome": "success",
        "user_id": "user-1",
        "personal": {"userEmail": "ann@example.org", "ipAddress": "192.0.2.7", "userAgent": "curl/8"},
        "resource_type": "agent",
        "resource_id": "agent-1",
        "details": {"status": 200},
        "timestamp": "2026-11-22T10:37:25.123Z",
    }
    return Draft(**{**values, **fields})


async def fill(file: Path, drafts: Sequence[Draft] | int) -> list[Head]:
    """Records the drafts, or so many of them, as another process would."""
    writer = SqliteLogWriter(file)
    wanted = [draft() for _ in range(drafts)] if isinstance(drafts, int) else drafts
    commit = await writer.commit(wanted, EMPTY)
    writer.close()
    return commit.places


def forge(file: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(file)
    with connection:
        assert connection.execute(sql, values).rowcount != 0
    connection.close()


def stored(file: Path, sql: str, *values: object) -> list[Any]:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


KEY = Signer.generate("peanut.local/audit")
"""Signs the checkpoints of logs in tests."""


def sign(file: Path, size: int | None = None) -> Checkpoint:
    """Grows the tree over the log, or its first entries, and signs it, as the service does."""
    connection = sqlite3.connect(file)
    with connection:
        prints = connection.execute('SELECT fingerprint FROM entries ORDER BY "index" LIMIT ?', (size or -1,))
        edge, tiles = RightEdge().appended([leaf_hash(fingerprint) for (fingerprint,) in prints])
        checkpoint = Checkpoint(KEY.name, edge.size, edge.root)
        note = note_of(checkpoint.text, KEY.sign(checkpoint.text))
        connection.executemany("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?)", tiles)
        connection.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, 0)", (edge.size, note))
    connection.close()
    return checkpoint


class Threads:
    """A workshop that starts no processes."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
