import os
from pathlib import Path

import pytest

from audit.application.ports import LogUnavailable
from audit.domain.chain import EMPTY
from audit.infrastructure import sqlite_checkpoints
from audit.infrastructure.sqlite_writer import open_writer
from tests.unit.audit.logs import draft
from tests.waiting import until


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_checkpoints, "EVERY_S", 0.01)


def large() -> str:
    return "x" * 50_000


async def test_what_is_committed_moves_into_the_file_while_the_writer_goes_on(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        before = os.stat(log_file).st_size
        (first,) = (await writer.commit([draft(details={"text": large()})], EMPTY)).places
        await until(lambda: os.stat(log_file).st_size > before + 30_000)

        commit = await writer.commit([draft()], first)

    assert (commit.before, commit.as_remembered) == (first, True)


async def test_a_file_that_was_away_is_checkpointed_again_when_it_is_back(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        await writer.commit([draft()], EMPTY)
        away = log_file.rename(log_file.with_name("away.db"))
        with pytest.raises(LogUnavailable):
            await writer.commit([draft()], EMPTY)
        away.rename(log_file)
        before = os.stat(log_file).st_size

        await writer.commit([draft(details={"text": large()})], EMPTY)

        await until(lambda: os.stat(log_file).st_size > before + 30_000)
