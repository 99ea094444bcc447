import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from audit.application.appends import MAX_GROUP, Appends
from audit.application.knowledge import Knowledge, Status
from audit.application.ports import Commit, LogUnavailable
from audit.domain.chain import EMPTY, Head
from audit.domain.entry import Draft, Row
from audit.infrastructure.sqlite_writer import SqliteLogWriter, open_writer
from tests.unit.audit.logs import draft, forge, stored


class CountingWriter(SqliteLogWriter):
    """The real thing, which also tells how large its groups were."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.groups: list[int] = []

    async def commit(self, drafts: Sequence[Draft], seen: Head) -> Commit:
        self.groups.append(len(drafts))
        return await super().commit(drafts, seen)


class BrokenWriter:
    """A writer that fails, in a way of one's choice."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def commit(self, drafts: Sequence[Draft], seen: Head) -> Commit:
        raise self.error

    async def try_writing(self) -> None:
        raise self.error

    async def overdue(self, before: int, limit: int) -> list[Row]:
        raise self.error


async def test_calls_that_arrive_together_share_one_commit_and_get_their_own_places(log_file: Path) -> None:
    writer = CountingWriter(log_file)
    appends = Appends(writer, Knowledge())

    answers = await asyncio.gather(*(appends.append([draft() for _ in range(n)]) for n in (1, 3, 2)))

    assert writer.groups == [6]
    assert [[place.index for place in places] for places in answers] == [[0], [1, 2, 3], [4, 5]]
    assert stored(log_file, "SELECT count(*) FROM entries") == [(6,)]
    writer.close()


async def test_a_repeated_entry_gets_its_old_place_also_within_one_group(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        appends = Appends(writer, Knowledge())
        entry = draft()
        (first,) = await appends.append([entry])

        again = await appends.append([entry, draft(), entry])
        other_phase, twice, twin = await appends.append([draft(id=entry.id, phase="intent"), *[draft(id="twin")] * 2])

    assert (again[0], again[2]) == (first, first)
    assert (again[1].index, other_phase.index, twice.index, twin) == (1, 2, 3, twice)


async def test_an_append_of_nothing_proves_that_the_log_can_be_written(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        assert await Appends(writer, Knowledge()).append([]) == []

    assert stored(log_file, "SELECT writes FROM probe") == [(1,)]


async def test_an_append_of_nothing_beside_one_of_something_needs_no_write_of_its_own(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        appends = Appends(writer, Knowledge())

        nothing, something = await asyncio.gather(appends.append([]), appends.append([draft()]))

    assert (nothing, len(something)) == ([], 1)
    assert stored(log_file, "SELECT writes FROM probe") == [(0,)]


async def test_a_crowd_is_committed_in_groups_of_bounded_size(log_file: Path) -> None:
    writer = CountingWriter(log_file)
    appends = Appends(writer, Knowledge())

    await asyncio.gather(*(appends.append([draft() for _ in range(600)]) for _ in range(4)))

    assert writer.groups == [1800, 600]
    assert max(writer.groups) <= MAX_GROUP
    writer.close()


async def test_a_caller_that_has_given_up_is_left_out(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        appends = Appends(writer, Knowledge())
        gone = asyncio.create_task(appends.append([draft()]))
        stays = asyncio.create_task(appends.append([draft()]))
        await asyncio.sleep(0)
        gone.cancel()

        (place,) = await stays

    assert place.index == 0
    assert stored(log_file, "SELECT count(*) FROM entries") == [(1,)]


@pytest.mark.parametrize("error", [LogUnavailable("no"), RuntimeError("a mistake of ours")])
@pytest.mark.parametrize("drafts", [[], [draft()]])
async def test_a_failure_reaches_every_caller_of_the_group_and_is_remembered(
    error: Exception, drafts: list[Draft]
) -> None:
    appends = Appends(BrokenWriter(error), Knowledge())

    answers = await asyncio.gather(appends.append(drafts), appends.append(drafts), return_exceptions=True)

    assert list(answers) == [error, error]
    assert appends.failed_at > 0


async def test_a_truncated_log_is_noticed_by_the_next_append_which_is_recorded_all_the_same(log_file: Path) -> None:
    async with open_writer(log_file) as writer:
        knowledge = Knowledge()
        appends = Appends(writer, knowledge)
        await appends.append([draft() for _ in range(5)])
        forge(log_file, 'DELETE FROM entries WHERE "index" >= 3')

        (place,) = await appends.append([draft()])

    assert place.index == 3
    assert (knowledge.status, knowledge.first_bad, knowledge.seen.index) == (Status.INVALID, 3, 4)


async def test_what_another_replica_appended_is_no_contradiction(log_file: Path) -> None:
    knowledge = Knowledge()
    async with open_writer(log_file) as one, open_writer(log_file) as other:
        appends = Appends(one, knowledge)
        await appends.append([draft()])
        await other.commit([draft()], EMPTY)

        (place,) = await appends.append([draft()])

    assert (place.index, knowledge.seen, knowledge.first_bad) == (2, place, None)
