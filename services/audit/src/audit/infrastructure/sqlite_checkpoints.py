"""SQLite's checkpoints: what stands committed in the write-ahead log moves into the file itself, beside the appends.

SQLite would do it by itself, inside of the commit that fills 1,000 pages: every hundredth append waited 4-10 ms for it.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path

from audit.infrastructure.sqlite_connections import connect
from shared.background import beside

EVERY_S = 0.25


@asynccontextmanager
async def checkpointing(file: Path, commits: Callable[[], int]) -> AsyncIterator[None]:
    """Checkpoints while the block runs, after each round in which the number of `commits` grew."""
    async with beside(partial(_repeat, file, commits)):
        yield


async def _repeat(file: Path, commits: Callable[[], int]) -> None:
    done = 0
    while True:
        await asyncio.sleep(EVERY_S)
        if commits() == done:
            continue
        done = commits()
        with suppress(sqlite3.Error):  # a file that is gone, full or damaged: the appends say so
            await asyncio.to_thread(_checkpoint, file)


def _checkpoint(file: Path) -> None:
    """Passive: it neither waits for a reader or a writer nor keeps one waiting. SQLite works without Python's lock."""
    with closing(connect(file, wait_for_lock=0)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
