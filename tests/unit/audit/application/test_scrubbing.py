import asyncio
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

    class Counting(SqliteLogReader):
        """The real thing, which also says which entries were read to be verified."""

        @contextmanager
        def snapshot(self) -> Iterator[SqliteSnapshot]:
            with super().snapshot() as snapshot:
                yield Snapshot(snapshot._connection)

    class Snapshot(SqliteSnapshot):
        def rows(self, first: int, last: int) -> Iterator[Row]:
            walked.append(first)
            return super().rows(first, last)

    scrubber = Scrubber(Counting(log_file), knowledge, workshop)

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
