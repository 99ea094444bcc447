import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from audit.application import erasures, inspection
from audit.application.appends import Appends
from audit.application.erasures import Erasures, Person, Report
from audit.application.inspection import Question
from audit.application.knowledge import Knowledge, Status
from audit.application.ports import Filters
from audit.application.queries import Answer, Queries
from audit.application.scrubbing import Scrubber
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.infrastructure.sqlite_writer import SqliteLogWriter, open_writer
from shared.bus import CallContext, call_context
from shared.errors import Forbidden
from shared.principal import Caller, Origin, Principal, PrincipalKind, Role
from tests.unit.audit.logs import KEY, Threads, draft, forge, sign, stored

VALUES = {"userEmail": "ann@example.org", "ipAddress": "198.51.100.73", "userAgent": "Anns-Browser/1.0"}
ANN: dict[str, Any] = {"user_id": "ann", "personal": VALUES}
FAILED: dict[str, Any] = {"user_id": "", "personal": {**VALUES, "userEmail": "Ann@Example.org"}}


def asked_by(role: Role) -> CallContext:
    who = Principal(kind=PrincipalKind.SESSION, user_id="root", email="root@example.org", role=role, credential_id="s")
    origin = Origin(ip_address="203.0.113.1", user_agent="Roots-Browser/2.0")
    return call_context(seconds=5, caller=Caller(principal=who, origin=origin))


class World:
    """One process that writes, erases and verifies."""

    def __init__(self, file: Path, writer: SqliteLogWriter, workshop: Threads) -> None:
        reader = SqliteLogReader(file)
        self.file = file
        self.knowledge = Knowledge([KEY.verifier])
        self.appends = Appends(writer, self.knowledge)
        self.erasures = Erasures(reader, writer, self.appends, workshop)
        self.scrubber = Scrubber(reader, self.knowledge, workshop)
        self.queries = Queries(reader, self.knowledge, workshop, self.scrubber)

    async def erase(self, *, user_id: str = "", email: str = "", role: Role = Role.ADMIN) -> Report:
        return await self.erasures.erase(Person(user_id=user_id, email=email), asked_by(role))

    async def find(self, **filters: str) -> Answer:
        question = Question(filters=Filters(**filters), page=1, limit=100)
        return await self.queries.find(question, asked_by(Role.OPERATOR).principal)

    def with_values(self) -> list[int]:
        found = stored(self.file, 'SELECT "index" FROM entries WHERE personal != \'{}\' ORDER BY "index"')
        return [index for (index,) in found]


@asynccontextmanager
async def made(file: Path, workshop: Threads) -> AsyncIterator[World]:
    async with open_writer(file) as writer:
        yield World(file, writer, workshop)


@pytest.fixture
async def world(log_file: Path, workshop: Threads) -> AsyncIterator[World]:
    async with made(log_file, workshop) as world:
        yield world


async def test_a_user_s_values_are_erased_and_an_entry_says_where(world: World) -> None:
    await world.appends.append([draft(**ANN), draft(user_id="bob"), draft(**ANN), draft(**ANN), draft(**FAILED)])

    report = await world.erase(user_id="ann")

    assert (report.entries, report.fields, report.left) == (3, 9, 0)
    assert [place.index for place in report.places] == [5]
    assert world.with_values() == [1, 4, 5]
    ((body, personal),) = stored(world.file, 'SELECT body, personal FROM entries WHERE "index" = 5')
    entry, beside = orjson.loads(body), orjson.loads(personal)
    assert entry["details"] == {"erased": [[0, 0], [2, 3]], "fields": ["ipAddress", "userAgent", "userEmail"]}
    assert (entry["action"], entry["source"], entry["phase"]) == ("audit.personal_erased", "audit", "outcome")
    assert (entry["userId"], entry["resourceType"], entry["resourceId"]) == ("root", "user", "ann")
    assert {field: value["value"] for field, value in beside.items()} == {
        "userEmail": "root@example.org",
        "ipAddress": "203.0.113.1",
        "userAgent": "Roots-Browser/2.0",
    }


async def test_an_e_mail_address_finds_entries_without_a_user_in_whatever_case(world: World) -> None:
    await world.appends.append(
        [
            draft(**ANN),
            draft(),
            draft(**FAILED),
            draft(user_id="x", personal={**VALUES, "userEmail": "bob@example.org"}),
        ]
    )

    report = await world.erase(email="ANN@example.ORG")

    assert (report.entries, report.left) == (2 + 1, 0), "the second draft has the same address"
    assert world.with_values() == [3, 4]
    ((body,),) = stored(world.file, 'SELECT body FROM entries WHERE "index" = 4')
    assert orjson.loads(body)["resourceId"] == ""
    assert b"example" not in body.lower(), "the erasure does not keep what it erases"


@pytest.mark.parametrize("long_from", [10_000, 2])
async def test_the_log_stays_valid_and_its_entries_say_what_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch, long_from: int
) -> None:
    monkeypatch.setattr(inspection, "WHOLE_UP_TO", long_from)
    await world.appends.append([draft(**ANN) for _ in range(300)])
    sign(world.file)
    await world.scrubber.scrub()
    assert (await world.find()).status is Status.VALID

    await world.erase(user_id="ann")
    at_once = await world.find(user_id="ann")
    sign(world.file)
    later = await world.find(user_id="ann")
    await world.scrubber.scrub()
    scrubbed = await world.find()

    assert [answer.status for answer in (at_once, later, scrubbed)] == [Status.VALID] * 3
    assert {row.personal for row in at_once.found.rows} == {"{}"}
    assert world.knowledge.first_bad is None


async def test_nothing_is_erased_twice(world: World) -> None:
    await world.appends.append([draft(**ANN)])
    await world.erase(user_id="ann")

    again = await world.erase(user_id="ann", email="ann@example.org")

    assert (again.entries, again.fields, again.places) == (0, 0, [])
    assert stored(world.file, "SELECT count(*) FROM entries") == [(2,)]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_only_an_admin_may_erase(world: World, role: Role) -> None:
    await world.appends.append([draft(**ANN)])

    with pytest.raises(Forbidden):
        await world.erase(user_id="ann", role=role)
    assert world.with_values() == [0]


async def test_no_byte_of_what_was_erased_is_left_in_any_file(world: World) -> None:
    await world.appends.append([draft(**ANN, details={"number": number}) for number in range(200)])
    await world.appends.append([draft(**{**ANN, "personal": {**VALUES, "userAgent": "Anns-Browser/1.0" * 60}})] * 5)
    salts = [
        orjson.loads(beside)["ipAddress"]["salt"] for (beside,) in stored(world.file, "SELECT personal FROM entries")
    ]
    reading = world.find()

    await asyncio.gather(world.erase(user_id="ann"), reading)

    files = [path.read_bytes() for path in world.file.parent.glob("audit.db*")]
    left = [text for text in (*VALUES.values(), *salts) if any(text.encode() in bytes for bytes in files)]
    assert left == []
    assert (await world.find()).status is Status.VALID


async def test_a_large_erasure_has_several_entries_and_appends_go_on_between_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasures, "AT_ONCE", 10)
    monkeypatch.setattr(erasures, "SEARCHED_AT_ONCE", 7)
    await world.appends.append([draft(**(ANN if number % 2 else {})) for number in range(100)])

    async def append() -> list[int]:
        return [(await world.appends.append([draft(user_id="bob")]))[0].index for _ in range(20)]

    report, others = await asyncio.gather(world.erase(user_id="ann"), append())

    assert (report.entries, len(report.places)) == (50, 5)
    assert min(others) < report.places[-1].index, "an append went between"
    assert (await world.find()).status is Status.VALID


async def test_what_is_not_as_it_was_written_is_left_as_evidence(world: World) -> None:
    await world.appends.append([draft(**ANN) for _ in range(4)])
    forge(world.file, "UPDATE entries SET personal = replace(personal, '198.51', '198.52') WHERE \"index\" = 1")
    forge(world.file, "UPDATE entries SET personal = '{}' WHERE \"index\" = 2")

    report = await world.erase(user_id="ann")

    assert (report.entries, report.left) == (2, 1)
    assert world.with_values() == [1, 4]
    answer = await world.find()
    assert (answer.status, answer.first_bad) == (Status.INVALID, 1)


async def test_what_somebody_took_away_is_not_excused_by_a_later_erasure(world: World) -> None:
    await world.appends.append([draft(**ANN) for _ in range(3)])
    forge(world.file, "UPDATE entries SET personal = '{}' WHERE \"index\" = 1")
    await world.erase(user_id="ann")
    forge(world.file, "INSERT INTO erased VALUES (1, 3)")

    answer = await world.find()

    assert (answer.status, answer.first_bad) == (Status.INVALID, 1)


async def test_an_admin_s_own_values_of_an_erasure_can_be_erased_later(world: World) -> None:
    await world.appends.append([draft(**ANN)])
    await world.erase(user_id="ann")

    report = await world.erase(user_id="root")

    assert report.entries == 1
    assert world.with_values() == [2]
    assert (await world.find()).status is Status.VALID


async def test_two_processes_that_erase_the_same_erase_it_once(log_file: Path, workshop: Threads) -> None:
    async with made(log_file, workshop) as one, made(log_file, workshop) as other:
        await one.appends.append([draft(**ANN) for _ in range(30)])

        reports = await asyncio.gather(one.erase(user_id="ann"), other.erase(user_id="ann"))

        assert sum(report.entries for report in reports) == 30
        assert (await one.find()).status is (await other.find()).status is Status.VALID
