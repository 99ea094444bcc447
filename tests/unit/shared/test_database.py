import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from shared.database import Database, open_database
from shared.sqlite_driver import DirectConnection


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite+aiosqlite:///{tmp_path}/x.db") as database:
        async with database.writing() as connection:
            await connection.execute(text("CREATE TABLE counter (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"))
            await connection.execute(text("CREATE TABLE part (counter INTEGER NOT NULL REFERENCES counter (id))"))
            await connection.execute(text("INSERT INTO counter VALUES (1, 0)"))
        yield database


async def count(database: Database) -> int:
    async with database.reading() as connection:
        return int((await connection.execute(text("SELECT n FROM counter"))).scalar_one())


@pytest.mark.asvs("2.3.4")
async def test_two_who_read_and_then_write_never_lose_an_update(database: Database, tmp_path: Path) -> None:
    async def raise_often(own: Database) -> None:
        for _ in range(20):
            async with own.writing() as connection:
                n = (await connection.execute(text("SELECT n FROM counter"))).scalar_one()
                await asyncio.sleep(0)
                await connection.execute(text("UPDATE counter SET n = :n"), {"n": n + 1})

    async with open_database(f"sqlite+aiosqlite:///{tmp_path}/x.db") as another:
        await asyncio.gather(*(raise_often(own) for own in (database, another, database)))

    assert await count(database) == 60


async def test_a_writer_holds_the_lock_from_its_first_statement_and_readers_do_not_wait(database: Database) -> None:
    async with database.writing() as first:
        async with database.reading() as connection:
            await connection.exec_driver_sql("PRAGMA busy_timeout = 10")
            with pytest.raises(OperationalError, match="locked"):
                await connection.execute(text("UPDATE counter SET n = 5"))
        await first.execute(text("UPDATE counter SET n = 7"))
        seen_meanwhile = await count(database)

    assert (seen_meanwhile, await count(database)) == (0, 7)


@pytest.mark.asvs("2.3.3")
async def test_a_block_that_raises_writes_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.writing() as connection:
            await connection.execute(text("UPDATE counter SET n = 9"))
            raise LookupError

    with pytest.raises(LookupError):
        await fail()

    assert await count(database) == 0


async def test_a_writer_that_is_cancelled_leaves_no_lock(database: Database) -> None:
    begun = asyncio.Event()

    async def write() -> None:
        async with database.writing() as connection:
            await connection.execute(text("UPDATE counter SET n = 9"))
            begun.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(write())
    await begun.wait()
    task.cancel()
    await asyncio.wait((task,))
    async with database.writing() as connection:
        await connection.execute(text("UPDATE counter SET n = n + 1"))

    assert await count(database) == 1


@pytest.mark.parametrize("turns", range(12))
async def test_a_writer_that_is_cancelled_anywhere_leaves_neither_lock_nor_half_of_it(
    database: Database, turns: int
) -> None:
    async def write() -> None:
        async with database.writing() as connection:
            await connection.execute(text("UPDATE counter SET n = n + 10"))
            await connection.execute(text("UPDATE counter SET n = n + 10"))

    tasks = [asyncio.create_task(write()) for _ in range(8)]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    async with database.writing() as connection:
        await connection.execute(text("UPDATE counter SET n = n + 1"))

    # One may have been at its commit, which cannot be called back; none is done in part.
    assert await count(database) % 20 == 1


async def test_a_connection_that_nobody_waits_for_any_more_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    connect, may_open = sqlite3.connect, threading.Event()

    def slowly(*args: Any, **options: Any) -> sqlite3.Connection:
        may_open.wait(5)
        opened.append(connect(*args, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", slowly)
    connection = DirectConnection(tmp_path / "x.db", check_same_thread=False)
    connecting = asyncio.ensure_future(connection)
    await asyncio.sleep(0.05)
    connecting.cancel()
    await asyncio.wait([connecting])
    may_open.set()
    await asyncio.to_thread(connection._thread.join, 5)

    assert connecting.cancelled()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


async def test_a_statement_is_one_hand_over_to_the_thread(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[object] = []
    original = DirectConnection._execute

    async def counted(self: DirectConnection, fn: Any, *args: Any, **kwargs: Any) -> Any:
        handed.append(fn)
        return await original(self, fn, *args, **kwargs)

    monkeypatch.setattr(DirectConnection, "_execute", counted)
    await count(database)
    for_reading = len(handed)
    async with database.writing() as connection:
        await connection.execute(text("UPDATE counter SET n = 1"))

    assert for_reading == 1
    assert len(handed) - for_reading == 3  # BEGIN, UPDATE, COMMIT


async def test_a_snapshot_is_of_one_moment(database: Database) -> None:
    query = text("SELECT n FROM counter")
    async with database.snapshot() as connection:
        before = (await connection.execute(query)).scalar_one()
        async with database.writing() as writer:
            await writer.execute(text("UPDATE counter SET n = 3"))
        after = (await connection.execute(query)).scalar_one()

    assert (before, after, await count(database)) == (0, 0, 3)


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("trusted_schema", 0), ("busy_timeout", 10_000)],
)
async def test_sqlite_is_durable_and_strict(database: Database, pragma: str, value: object) -> None:
    async with database.reading() as connection:
        assert (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar_one() == value


async def test_a_reference_to_nothing_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.writing() as connection:
            await connection.execute(text("INSERT INTO part VALUES (99)"))
