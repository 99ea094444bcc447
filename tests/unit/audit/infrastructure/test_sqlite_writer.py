import asyncio
import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from audit.application.ports import LogUnavailable
from audit.domain.chain import EMPTY, Head
from audit.domain.entry import Row, follows
from audit.infrastructure import sqlite_writer
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.infrastructure.sqlite_writer import SqliteLogWriter, open_writer
from shared.ids import new_id
from tests.unit.audit.logs import draft, fill, forge, stored


def rows(file: Path) -> list[Row]:
    with SqliteLogReader(file).snapshot() as snapshot:
        return list(snapshot.rows(0, 10**9))


def is_chain(entries: list[Row]) -> bool:
    return all(
        follows(row, previous) for row, previous in zip(entries, [EMPTY, *[r.head for r in entries]], strict=False)
    )


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What a full disk does to a write: it fails, in the middle of what was to be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_two_writers_keep_one_chain_without_gap_or_fork(log_file: Path) -> None:
    async def write(writer: SqliteLogWriter) -> list[Head]:
        places: list[Head] = []
        for _ in range(60):
            places += (await writer.commit([draft(), draft()], EMPTY)).places
            await asyncio.sleep(0)
        return places

    async with open_writer(log_file) as one, open_writer(log_file) as other:
        first, second = await asyncio.gather(write(one), write(other))

    entries = rows(log_file)
    assert is_chain(entries)
    assert sorted(first + second) == [row.head for row in entries]
    assert len(entries) == 240


async def test_a_commit_survives_power_failure_as_far_as_sqlite_can_say(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        await writer.commit([draft()], EMPTY)
        connection: Any = writer._connection
        modes = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

    assert modes == ["wal", 2]


async def test_a_full_disk_acknowledges_nothing_and_heals_by_itself(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        (first,) = (await writer.commit([draft()], EMPTY)).places
        lost = [draft(details={"text": "x" * 50_000}) for _ in range(40)]
        with no_file_larger_than(os.stat(log_file).st_size + 500_000), pytest.raises(LogUnavailable) as refusal:
            await writer.commit(lost, first)
        assert refusal.value.reason == "audit-unavailable"
        assert [row.head for row in rows(log_file)] == [first]

        commit = await writer.commit(lost, first)

    assert commit.as_remembered
    assert len(rows(log_file)) == 41
    assert is_chain(rows(log_file))


async def test_a_disk_without_room_for_anything_fails_the_probe(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        with no_file_larger_than(1), pytest.raises(LogUnavailable):
            await writer.try_writing()

        await writer.try_writing()


async def test_a_database_that_is_locked_for_long_is_unavailable_and_then_it_is_not(
    log_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "LOCK_WITHIN_S", 0.1)
    holder = sqlite3.connect(log_file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    async with open_writer(log_file) as writer:
        with pytest.raises(LogUnavailable):
            await writer.commit([draft()], EMPTY)
        holder.execute("ROLLBACK")

        assert (await writer.commit([draft()], EMPTY)).places[0].index == 0
    holder.close()


async def test_a_lock_that_is_held_for_a_moment_is_waited_for_while_the_loop_goes_on(log_file: Path) -> None:
    holder = sqlite3.connect(log_file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(0.05, lambda: holder.execute("ROLLBACK"))

    async with open_writer(log_file) as writer:
        commit = await writer.commit([draft()], EMPTY)

    assert commit.places[0].index == 0
    holder.close()


async def test_a_log_file_that_is_gone_is_not_made_anew(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        await writer.commit([draft()], EMPTY)
        log_file.unlink()

        with pytest.raises(LogUnavailable):
            await writer.commit([draft()], EMPTY)

    assert not log_file.exists()


async def test_a_file_put_in_place_of_the_log_is_noticed(log_file: Path, empty_log: Path) -> None:
    async with open_writer(log_file) as writer:
        seen = (await writer.commit([draft(), draft()], EMPTY)).after
        for suffix in ("-wal", "-shm", ""):
            Path(f"{log_file}{suffix}").unlink(missing_ok=True)
        log_file.write_bytes(empty_log.read_bytes())

        commit = await writer.commit([draft()], seen)

    assert (commit.as_remembered, commit.before, commit.places[0].index) == (False, EMPTY, 0)


async def test_a_last_entry_of_another_fingerprint_is_not_as_remembered(log_file: Path) -> None:
    (place,) = await fill(log_file, 1)
    forge(log_file, "UPDATE entries SET fingerprint = zeroblob(32)")

    async with open_writer(log_file) as writer:
        commit = await writer.commit([draft()], place)

    assert not commit.as_remembered


async def test_a_damaged_database_is_unavailable(log_file: Path) -> None:
    log_file.write_bytes(b"no database at all" * 1000)

    async with open_writer(log_file) as writer:
        with pytest.raises(LogUnavailable, match="damaged"):
            await writer.commit([draft()], EMPTY)
        with pytest.raises(LogUnavailable):
            await writer.overdue(1, 1)


async def test_a_mistake_of_ours_leaves_no_transaction_behind(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        with pytest.raises(TypeError):
            await writer.commit([draft(details={"x": object()})], EMPTY)

        await writer.commit([draft()], EMPTY)

    assert stored(log_file, "SELECT count(*) FROM entries") == [(1,)]


async def test_a_file_system_that_fails_is_unavailable(log_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async with open_writer(log_file) as writer:
        monkeypatch.setattr("audit.infrastructure.sqlite_writer.os.stat", fails)
        with pytest.raises(LogUnavailable):
            await writer.commit([draft(id=new_id())], EMPTY)
