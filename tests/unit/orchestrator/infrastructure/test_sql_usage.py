"""What is used of budgets, in SQL."""

from datetime import UTC, date, datetime

import pytest
from sqlalchemy import text

from orchestrator.domain.budget import Account
from orchestrator.infrastructure import sql_usage
from orchestrator.infrastructure.sql_usage import SqlUsage
from shared.clean_up import clean_up
from shared.database import Database
from tests.waiting import until

TODAY = Account("key-1", date(2026, 11, 22))


async def test_what_was_used_is_there_for_the_next_replica(database: Database) -> None:
    usage, other = SqlUsage(database, replica="a"), SqlUsage(database, replica="b")
    async with usage.saving(), other.saving():
        usage.note(TODAY, 10)
        other.note(TODAY, 5)
        usage.note(TODAY, 12)
        unsaved = await usage.of(TODAY)

    assert unsaved["a"] == 12
    assert await SqlUsage(database, replica="c").of(TODAY) == {"a": 12, "b": 5}
    assert await usage.of(Account("key-2", TODAY.day)) == {}


async def test_what_cannot_be_saved_is_saved_later(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sql_usage, "AGAIN_AFTER_S", 0.01)
    usage = SqlUsage(database, replica="a")
    async with database.writing() as connection:
        await connection.execute(text("ALTER TABLE token_usage RENAME TO elsewhere"))
    async with usage.saving():
        usage.note(TODAY, 7)
        await until(lambda: caplog.messages.count("database_unavailable") >= 2)
        async with database.writing() as connection:
            await connection.execute(text("ALTER TABLE elsewhere RENAME TO token_usage"))

    assert await SqlUsage(database, replica="b").of(TODAY) == {"a": 7}


async def test_days_that_are_over_are_removed(database: Database) -> None:
    usage = SqlUsage(database, replica="a")
    async with usage.saving():
        for day in (19, 20, 22):
            usage.note(Account("key-1", date(2026, 11, day)), day)

    await clean_up(usage, now=datetime(2026, 11, 22, 0, 30, tzinfo=UTC))

    kept = [await SqlUsage(database, replica="b").of(Account("key-1", date(2026, 11, day))) for day in (19, 20, 22)]
    assert kept == [{}, {"a": 20}, {"a": 22}]
