from pathlib import Path

import pytest

from audit.application.ports import Filters, LogDamaged
from audit.infrastructure.sqlite_reader import SqliteLogReader
from tests.unit.audit.logs import draft, fill, forge


async def test_a_snapshot_is_of_one_moment(log_file: Path) -> None:
    await fill(log_file, 2)
    with SqliteLogReader(log_file).snapshot() as snapshot:
        before = snapshot.last_index()
        await fill(log_file, 3)

        assert (before, snapshot.last_index(), snapshot.total(Filters())) == (1, 1, 2)


async def test_text_that_is_no_text_damages_the_walk_and_is_still_shown(log_file: Path) -> None:
    await fill(log_file, [draft()])
    forge(log_file, "UPDATE entries SET user_id = CAST(x'61ff' AS TEXT)")
    with SqliteLogReader(log_file).snapshot() as snapshot:
        with pytest.raises(LogDamaged):
            list(snapshot.rows(0, 0))

        assert snapshot.newest(Filters(), 10, 0)[0].user_id == "a\N{REPLACEMENT CHARACTER}"
