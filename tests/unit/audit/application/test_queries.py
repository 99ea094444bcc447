import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from audit.application import inspection
from audit.application.inspection import Question
from audit.application.knowledge import Knowledge, Status
from audit.application.ports import Filters, LogUnavailable
from audit.application.queries import Answer, Queries
from audit.application.scrubbing import Scrubber
from audit.domain.chain import Head
from audit.domain.entry import seal
from audit.infrastructure.sqlite_reader import SqliteLogReader, SqliteSnapshot
from audit.infrastructure.sqlite_rows import COLUMNS
from shared.errors import Forbidden
from shared.principal import Principal, PrincipalKind, Role
from tests.unit.audit.logs import KEY, Threads, draft, fill, forge, sign, stored


def person(role: Role) -> Principal:
    return Principal(kind=PrincipalKind.SESSION, user_id="u", email="u@example.org", role=role, credential_id="s")


OPERATOR = person(Role.OPERATOR)

TO_201 = """UPDATE entries SET body = CAST(replace(body, '"status":200', '"status":201') AS BLOB) """
TO_200 = """UPDATE entries SET body = CAST(replace(body, '"status":201', '"status":200') AS BLOB) """


def page(number: int = 1, limit: int = 50, filters: dict[str, str] | None = None) -> Question:
    return Question(filters=Filters(**(filters or {})), page=number, limit=limit)


class World:
    """One process that looks at a log."""

    def __init__(self, file: Path, workshop: Threads) -> None:
        self.file = file
        self.reader = CountingReader(file)
        self.knowledge = Knowledge([KEY.verifier])
        self.scrubber = Scrubber(self.reader, self.knowledge, workshop)
        self.queries = Queries(self.reader, self.knowledge, workshop, self.scrubber)

    async def find(self, question: Question | None = None, *, full: bool = False) -> Answer:
        return await self.queries.find(question or page(), OPERATOR, full=full)


class CountingReader(SqliteLogReader):
    """The real thing, which also counts its snapshots."""

    snapshots = 0

    @contextmanager
    def snapshot(self) -> Iterator[SqliteSnapshot]:
        self.snapshots += 1
        with super().snapshot() as snapshot:
            yield snapshot


@pytest.fixture
def world(log_file: Path, workshop: Threads) -> World:
    return World(log_file, workshop)


@pytest.fixture
def long_from_20(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs of more than 20 entries count as long."""
    monkeypatch.setattr(inspection, "WHOLE_UP_TO", 20)


async def test_an_empty_log_is_valid(world: World) -> None:
    answer = await world.find()

    assert (answer.found.rows, answer.found.total, answer.status, answer.verified) == ([], 0, Status.VALID, 0)


async def test_pages_are_newest_first_and_end(world: World) -> None:
    await fill(world.file, 7)

    pages = [await world.find(page(number, 3)) for number in (1, 2, 3, 4)]

    assert [[row.index for row in answer.found.rows] for answer in pages] == [[6, 5, 4], [3, 2, 1], [0], []]
    assert {answer.found.total for answer in pages} == {7}
    assert sorted(pages[1].found.previous) == [0, 1, 2]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"user_id": "bob"}, [2]),
        ({"action": "agent.created"}, [1, 0]),
        ({"resource_type": "key"}, [3]),
        ({"resource_id": "a2"}, [1, 0]),
        ({"outcome": "failure"}, [1]),
        ({"request_id": "r4"}, [4]),
        ({"start": "2026-11-23T00:00:00.000Z"}, [4, 3]),
        ({"end": "2026-11-23T00:00:00.000Z"}, [3, 2, 1, 0]),
        ({"start": "2026-11-23T00:00:00.000Z", "end": "2026-11-23T00:00:00.000Z"}, [3]),
        ({"action": "agent.created", "outcome": "failure", "resource_id": "a2"}, [1]),
        ({"user_id": "bob' OR 1=1 --"}, []),
    ],
)
async def test_filters_narrow_and_combine(world: World, filters: dict[str, str], found: list[int]) -> None:
    await fill(
        world.file,
        [
            draft(id="i", phase="intent", outcome=None, action="agent.created", resource_id="a2"),
            draft(id="i", outcome="failure", action="agent.created", resource_id="a2"),
            draft(user_id="bob"),
            draft(resource_type="key", timestamp="2026-11-23T00:00:00.000Z"),
            draft(request_id="r4", timestamp="2026-11-24T00:00:00.000Z"),
        ],
    )

    answer = await world.find(page(filters=filters))

    assert [row.index for row in answer.found.rows] == found
    assert answer.found.total == len(found)
    assert answer.status is Status.VALID


async def test_a_viewer_may_not_ask(world: World) -> None:
    with pytest.raises(Forbidden):
        await world.queries.find(page(), person(Role.VIEWER))


@pytest.mark.parametrize(
    ("sql", "first_bad"),
    [
        (TO_201 + 'WHERE "index" = 4', 4),
        ('UPDATE entries SET fingerprint = zeroblob(32) WHERE "index" = 4', 4),
        ("UPDATE entries SET personal = '{}' WHERE \"index\" = 4", 4),
        ("UPDATE entries SET user_id = 'eve' WHERE \"index\" = 4", 4),
        ("UPDATE entries SET timestamp = '2026-11-22T10:37:25.124Z' WHERE \"index\" = 4", 4),
        ('UPDATE entries SET outcome = NULL WHERE "index" = 4', 4),
        ("UPDATE entries SET action = x'80' WHERE \"index\" = 4", 4),
        ("UPDATE entries SET action = CAST(x'80' AS TEXT) WHERE \"index\" = 4", 4),
        ('UPDATE entries SET "index" = 100 WHERE "index" = 4', 4),
        ('DELETE FROM entries WHERE "index" = 4', 4),
        ('DELETE FROM entries WHERE "index" >= 4', 4),
        ("DELETE FROM entries", 0),
    ],
)
@pytest.mark.parametrize("again", [False, True])
async def test_a_forged_log_is_never_called_valid(world: World, sql: str, first_bad: int, again: bool) -> None:
    await fill(world.file, 10)
    assert (await world.find()).status is Status.VALID

    forge(world.file, sql)
    answer = await world.find()
    if again:
        answer = await world.find()

    assert (answer.status, answer.first_bad) == (Status.INVALID, first_bad)


async def test_a_forged_log_is_valid_again_only_when_all_of_it_is(world: World) -> None:
    await fill(world.file, 5)
    forge(world.file, "UPDATE entries SET user_id = 'eve' WHERE \"index\" = 2")
    assert (await world.find()).status is Status.INVALID

    forge(world.file, "UPDATE entries SET user_id = 'user-1' WHERE \"index\" = 2")

    assert (await world.find()).status is Status.VALID


async def test_a_log_rolled_back_to_an_old_copy_is_invalid_for_ever(world: World) -> None:
    await fill(world.file, 5)
    old = world.file.read_bytes()
    await fill(world.file, 2)
    assert (await world.find()).status is Status.VALID

    world.file.unlink()
    world.file.write_bytes(old)
    rolled_back = await world.find()
    await fill(world.file, 9)
    grown_over = await world.find()

    assert (rolled_back.status, rolled_back.first_bad) == (Status.INVALID, 5)
    assert grown_over.status is Status.INVALID


async def test_bytes_changed_behind_the_database_s_back_are_seen(world: World) -> None:
    await fill(world.file, 5)
    assert (await world.find()).status is Status.VALID

    raw = world.file.read_bytes()
    place = raw.index(b'"concludeBy"')
    world.file.write_bytes(raw[:place] + b'"concludeBx"' + raw[place + 12 :])

    assert (await world.find()).status is Status.INVALID


async def test_a_file_that_is_no_database_any_more_is_reported_and_not_shown(world: World) -> None:
    await fill(world.file, 5)
    world.file.write_bytes(b"\0" * 8192)

    with pytest.raises(LogUnavailable):
        await world.find()
    assert world.knowledge.status is Status.INVALID


async def test_a_file_that_is_gone_is_unavailable(world: World) -> None:
    world.file.unlink()

    with pytest.raises(LogUnavailable):
        await world.find()


async def test_concurrent_queries_share_a_verification_that_began_after_they_came(world: World) -> None:
    await fill(world.file, 300)

    answers = await asyncio.gather(*(world.find(page(1, 5)) for _ in range(20)))

    assert {answer.status for answer in answers} == {Status.VALID}
    assert world.reader.snapshots == 1


async def signed_and_scrubbed(world: World, users: int = 1) -> None:
    """300 entries, of which each has another user than the ones before and after it, if there is more than one."""
    await fill(world.file, [draft(user_id=f"user-{number % users}") for number in range(300)])
    sign(world.file, 290)
    await world.scrubber.scrub()


@pytest.mark.usefixtures("long_from_20")
async def test_a_long_log_is_verified_where_it_is_shown_and_where_it_is_new(world: World) -> None:
    await signed_and_scrubbed(world)
    assert (await world.find(page(1, 10))).status is Status.VALID

    await fill(world.file, 5)
    answer = await world.find(page(1, 10))

    assert (answer.status, answer.verified, answer.found.total) == (Status.VALID, 305, 305)
    assert answer.checkpoint is not None
    assert answer.checkpoint.startswith("peanut.local/audit\n290\n")


@pytest.mark.usefixtures("long_from_20")
@pytest.mark.parametrize("place", [0, 15, 16, 255, 256, 289, 290, 299])
async def test_a_forged_entry_of_a_long_log_is_seen_when_it_is_shown(world: World, place: int) -> None:
    await signed_and_scrubbed(world, users=300)
    forge(world.file, TO_201 + "WHERE user_id = ?", f"user-{place}")

    answer = await world.find(page(filters={"user_id": f"user-{place}"}))

    assert (answer.status, answer.first_bad) == (Status.INVALID, place)


@pytest.mark.usefixtures("long_from_20")
@pytest.mark.parametrize("place", [0, 100, 255])
async def test_an_entry_that_is_another_with_its_own_fingerprint_is_not_in_the_tree(world: World, place: int) -> None:
    await signed_and_scrubbed(world, users=300)
    (before,) = stored(
        world.file, 'SELECT coalesce(max(fingerprint), zeroblob(32)) FROM entries WHERE "index" = ?', place - 1
    )
    other = seal(draft(user_id="eve"), Head(place - 1, *before), bytes(48))
    forge(world.file, 'DELETE FROM entries WHERE "index" = ?', place)
    forge(world.file, f"INSERT INTO entries ({COLUMNS}) VALUES ({', '.join('?' * 13)})", *other)

    answer = await world.find(page(filters={"user_id": "eve"}))

    assert (answer.status, answer.first_bad) == (Status.INVALID, place)


@pytest.mark.usefixtures("long_from_20")
@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE tiles SET hashes = zeroblob(8192) WHERE level = 0",
        "UPDATE tiles SET hashes = zeroblob(32) WHERE level = 1",
        "DELETE FROM tiles WHERE level = 0",
        "DELETE FROM tiles WHERE level = 1",
        "UPDATE tiles SET hashes = CAST(hashes AS TEXT) WHERE level = 1",
        "DELETE FROM checkpoints",
        "UPDATE checkpoints SET note = replace(note, '290', '289')",
        "UPDATE checkpoints SET size = 1000",
        "UPDATE checkpoints SET note = x'00'",
    ],
)
async def test_a_long_log_whose_tree_was_altered_is_not_called_valid(world: World, sql: str) -> None:
    await signed_and_scrubbed(world)
    forge(world.file, sql)

    answer = await world.find(page(6, 50))

    assert answer.status is Status.INVALID


@pytest.mark.usefixtures("long_from_20")
async def test_a_forged_entry_of_a_long_log_that_nobody_looks_at_is_found_by_the_scrubber(world: World) -> None:
    await signed_and_scrubbed(world)
    forge(world.file, TO_201 + 'WHERE "index" = 40')
    assert (await world.find(page(1, 5))).status is Status.VALID

    await world.scrubber.scrub()

    answer = await world.find(page(1, 5))
    assert (answer.status, answer.first_bad) == (Status.INVALID, 40)
    forge(world.file, TO_200 + 'WHERE "index" = 40')
    assert (await world.find(page(1, 5))).status is Status.INVALID, "what is shown being good says nothing of the rest"
    await world.scrubber.scrub()
    assert (await world.find(page(1, 5))).status is Status.VALID


@pytest.mark.usefixtures("long_from_20")
async def test_the_whole_of_a_long_log_is_verified_at_once_on_demand(world: World) -> None:
    await signed_and_scrubbed(world)
    forge(world.file, TO_201 + 'WHERE "index" = 40')

    answer = await world.find(page(1, 5), full=True)

    assert (answer.status, answer.first_bad, answer.verified) == (Status.INVALID, 40, 40)


@pytest.mark.usefixtures("long_from_20")
@pytest.mark.parametrize("left", [299, 260, 256, 21, 0])
async def test_a_truncated_long_log_is_seen_by_the_next_query(world: World, left: int) -> None:
    await signed_and_scrubbed(world)
    forge(world.file, 'DELETE FROM entries WHERE "index" >= ?', left)

    answer = await world.find(page(1, 5))

    assert (answer.status, answer.first_bad) == (Status.INVALID, left)


@pytest.mark.usefixtures("long_from_20")
async def test_a_long_log_is_not_called_valid_before_it_was_verified(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.application.queries.FIRST_PASS_WITHIN_S", 0.15)
    await fill(world.file, 300)
    sign(world.file)

    early = await world.find(page(1, 5))
    await world.scrubber.scrub()
    later = await world.find(page(1, 5))

    assert (early.status, early.verified, early.scrub_age) == (Status.VERIFYING, 0, None)
    assert (later.status, later.verified) == (Status.VALID, 300)


@pytest.mark.usefixtures("long_from_20")
async def test_what_no_checkpoint_covers_of_a_long_log_is_left_to_the_scrubber(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.application.queries.FIRST_PASS_WITHIN_S", 0.15)
    await signed_and_scrubbed(world)
    await fill(world.file, 30)

    behind = await world.find(page(1, 5))
    sign(world.file)
    signed = await world.find(page(1, 5))

    assert behind.status is Status.VERIFYING
    assert (signed.status, signed.verified) == (Status.VALID, 330)


@pytest.mark.usefixtures("long_from_20")
async def test_a_query_waits_for_the_first_verification_of_a_long_log(world: World) -> None:
    await fill(world.file, 300)
    sign(world.file)
    async with world.scrubber.running():
        answer = await world.find(page(1, 5))

    assert answer.status is Status.VALID
