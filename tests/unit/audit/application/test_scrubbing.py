import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audit.application import scrubbing
from audit.application.knowledge import Knowledge, Status
from audit.application.scrubbing import Scrubber
from audit.domain.entry import Row
from audit.infrastructure.sqlite_reader import SqliteLogReader, SqliteSnapshot
from tests.unit.audit.logs import KEY, Threads, draft, fill, forge, sign
from tests.waiting import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "ROUND_S", 0.01)
    monkeypatch.setattr(scrubbing, "STRETCH_S", 0.001)
    monkeypatch.setattr(scrubbing, "PASS_S", 0.05)
    monkeypatch.setattr(scrubbing, "STRETCH", 256)


class Counting(SqliteLogReader):
    """The real thing, which also says from which entries on it was read."""

    def __init__(self, file: Path, read: list[int]) -> None:
        super().__init__(file)
        self._read = read

    @contextmanager
    def snapshot(self) -> Iterator[SqliteSnapshot]:
        with super().snapshot() as snapshot:
            yield CountingSnapshot(snapshot._connection, self._read)


class CountingSnapshot(SqliteSnapshot):
    def __init__(self, connection: sqlite3.Connection, read: list[int]) -> None:
        super().__init__(connection)
        self._read = read

    def rows(self, first: int, last: int) -> Iterator[Row]:
        self._read.append(first)
        return super().rows(first, last)


async def becomes(knowledge: Knowledge, status: Status) -> None:
    await until(lambda: knowledge.status is status)


async def test_damage_is_found_reported_and_forgiven_when_it_is_undone(log_file: Path, workshop: Threads) -> None:
    knowledge = Knowledge([KEY.verifier])
    await fill(log_file, 200)
    sign(log_file)
    assert (knowledge.status, knowledge.scrub_age) == (Status.VERIFYING, None)

    async with Scrubber(SqliteLogReader(log_file), knowledge, workshop).running():
        await becomes(knowledge, Status.VALID)
        assert knowledge.seen.index == 199
        forge(log_file, "UPDATE entries SET user_id = 'eve' WHERE \"index\" = 77")
        await becomes(knowledge, Status.INVALID)
        assert knowledge.first_bad == 77
        forge(log_file, "UPDATE entries SET user_id = 'user-1' WHERE \"index\" = 77")
        await becomes(knowledge, Status.VALID)
        forge(log_file, 'DELETE FROM entries WHERE "index" > 150')
        await becomes(knowledge, Status.INVALID)

    assert knowledge.first_bad == 151
    assert knowledge.scrub_age is not None


async def test_new_entries_are_verified_soon_also_the_first_ones(
    log_file: Path, workshop: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    knowledge = Knowledge()
    async with Scrubber(SqliteLogReader(log_file), knowledge, workshop).running():
        await becomes(knowledge, Status.VALID)
        await asyncio.sleep(0.2)  # several passes over an empty log
        await fill(log_file, 40)
        await until(lambda: knowledge.seen.index == 39)

    assert caplog.messages == []


async def test_a_log_that_is_out_of_reach_for_a_while_is_no_forgery(log_file: Path, workshop: Threads) -> None:
    knowledge = Knowledge()
    away = log_file.with_suffix(".away")
    async with Scrubber(SqliteLogReader(log_file), knowledge, workshop).running():
        await becomes(knowledge, Status.VALID)
        log_file.rename(away)
        await asyncio.sleep(0.1)
        away.rename(log_file)
        await asyncio.sleep(0.1)

    assert knowledge.status is Status.VALID


async def test_a_file_that_is_no_log_any_more_is_invalid(log_file: Path, workshop: Threads) -> None:
    knowledge = Knowledge()
    async with Scrubber(SqliteLogReader(log_file), knowledge, workshop).running():
        await becomes(knowledge, Status.VALID)
        log_file.write_bytes(b"\0" * 4096)
        await becomes(knowledge, Status.INVALID)


async def test_an_unexpected_failure_does_not_end_the_scrubbing(
    log_file: Path, workshop: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(SqliteLogReader):
        left = 1

        def snapshot(self):  # type: ignore[no-untyped-def]  # as its parent's
            if self.left:
                self.left -= 1
                raise RuntimeError("a mistake of ours")
            return super().snapshot()

    knowledge = Knowledge()
    async with Scrubber(Failing(log_file), knowledge, workshop).running():
        await becomes(knowledge, Status.VALID)

    assert "scrubbing_failed" in caplog.messages


async def test_what_was_verified_once_is_compared_and_verified_anew_only_where_it_differs(
    log_file: Path, workshop: Threads
) -> None:
    knowledge = Knowledge([KEY.verifier])
    await fill(log_file, [draft(user_id="ann" if number == 300 else "bob") for number in range(600)])
    sign(log_file)
    walked: list[int] = []
    scrubber = Scrubber(Counting(log_file, walked), knowledge, workshop)

    async def walked_in_a_pass() -> list[int]:
        walked.clear()
        await scrubber.scrub_again()
        return list(walked)

    first = await walked_in_a_pass()
    second = await walked_in_a_pass()
    forge(log_file, "UPDATE entries SET user_id = 'eve' WHERE \"index\" = 300")
    third = await walked_in_a_pass()

    assert (first, second, third) == ([0, 256, 512], [512], [0, 256])
    assert knowledge.first_bad == 300


async def caught_up(log_file: Path, workshop: Threads, entries: int) -> tuple[Scrubber, Knowledge, list[int]]:
    """A scrubber that has verified a log of 300 entries, and then caught up with some more, the last 10 not signed."""
    knowledge, read = Knowledge([KEY.verifier]), list[int]()
    scrubber = Scrubber(Counting(log_file, read), knowledge, workshop)
    await fill(log_file, 300)
    sign(log_file)
    await scrubber.scrub_again()
    places = await fill(log_file, entries)
    sign(log_file, 300 + entries - 10)
    knowledge.committed(places[-1])
    read.clear()
    await scrubber.catch_up()
    return scrubber, knowledge, read


async def test_a_few_new_entries_are_verified_at_once_and_many_by_the_next_pass(
    log_file: Path, workshop: Threads
) -> None:
    scrubber, knowledge, read = await caught_up(log_file, workshop, 40)
    assert (read, knowledge.known.base.size) == ([300], 330)

    await fill(log_file, 400)
    sign(log_file)
    read.clear()
    await scrubber.catch_up()
    assert (read, knowledge.known.base.size) == ([], 740)

    forge(log_file, "UPDATE entries SET user_id = 'eve' WHERE \"index\" = 500")
    await scrubber.catch_up()
    assert knowledge.first_bad is None
    await scrubber.scrub_again()
    assert knowledge.first_bad == 500


@pytest.mark.parametrize(
    ("damage", "first_bad"),
    [
        ('DELETE FROM entries WHERE "index" = 899', 899),
        ('DELETE FROM entries WHERE "index" >= 850', 850),
        ("DELETE FROM checkpoints WHERE size = 690", 300),
        ("UPDATE checkpoints SET note = replace(note, 'audit', 'other') WHERE size = 690", 0),
    ],
)
async def test_behind_many_new_entries_lost_ones_and_lost_checkpoints_are_noticed_at_once(
    log_file: Path, workshop: Threads, damage: str, first_bad: int
) -> None:
    scrubber, knowledge, read = await caught_up(log_file, workshop, 400)
    knowledge.committed((await fill(log_file, 200))[-1])  # more than a few, and not signed
    read.clear()
    await scrubber.catch_up()
    assert (read, knowledge.first_bad) == ([], None)

    forge(log_file, damage)
    await scrubber.catch_up()

    assert (read, knowledge.first_bad) == ([], first_bad)


@pytest.mark.parametrize("signed", [512, 600])
async def test_the_end_of_what_tiles_stand_for_is_the_entry_that_was_signed(
    log_file: Path, workshop: Threads, signed: int
) -> None:
    knowledge = Knowledge([KEY.verifier])
    scrubber = Scrubber(SqliteLogReader(log_file), knowledge, workshop)
    await fill(log_file, 700)
    sign(log_file, signed)
    forge(log_file, 'UPDATE entries SET fingerprint = zeroblob(32) WHERE "index" = ?', signed - 1)

    await scrubber.catch_up()

    assert knowledge.known.base.size == 0
