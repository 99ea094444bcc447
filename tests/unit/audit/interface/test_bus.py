from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from audit.application.appends import Appends
from audit.application.erasures import Erasures
from audit.application.health import Health
from audit.application.knowledge import Knowledge
from audit.application.queries import Queries
from audit.application.room import Room
from audit.application.scrubbing import Scrubber
from audit.application.tree import Tree
from audit.infrastructure.note_keys import NoteKeys
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.infrastructure.sqlite_writer import open_writer
from audit.interface.bus import MAX_DETAILS_BYTES, endpoints
from shared.bus import call_context
from shared.errors import Forbidden, InvalidFields, Malformed
from shared.principal import Caller, Principal, PrincipalKind, Role
from tests.unit.audit.logs import Threads, forge, stored

APPEND = "peanut.audit.entry.append.auth"
QUERY = "peanut.audit.entry.query"
HEALTH = "peanut.audit.health.check"


class Door:
    """The endpoints without a bus."""

    def __init__(self, answers: dict[str, Callable[..., Any]], file: Path, role: Role = Role.OPERATOR) -> None:
        self._answers = answers
        self.file = file
        self.role = role

    async def call(self, subject: str, body: object) -> Any:
        who = Principal(kind=PrincipalKind.KEY, user_id="u", email="u@example.org", role=self.role, credential_id="k")
        context = call_context(seconds=5, caller=Caller(principal=who))
        return orjson.loads(await self._answers[subject](orjson.dumps(body), context))


@pytest.fixture
async def door(log_file: Path, workshop: Threads) -> Any:
    knowledge = Knowledge()
    keys = NoteKeys(log_file.parent / "audit", "peanut.local/audit")
    async with open_writer(log_file) as writer:
        appends = Appends(writer, knowledge)
        reader = SqliteLogReader(log_file)
        queries = Queries(reader, knowledge, workshop, Scrubber(reader, knowledge, workshop))
        tree = Tree(reader, writer, keys, workshop, knowledge, origin="peanut.local/audit")
        erasures = Erasures(reader, writer, appends, workshop)
        made = endpoints(appends, queries, erasures, Health(appends, knowledge, Room(lambda: 0.5), tree))
        yield Door({endpoint.subject: endpoint.answer for endpoint in made}, log_file)


def entry(**fields: object) -> dict[str, object]:
    return {
        "id": "e1",
        "requestId": "r1",
        "phase": "outcome",
        "action": "auth.login",
        "outcome": "success",
        "userEmail": "ann@example.org",
        "timestamp": "2026-11-22T10:37:25.123Z",
        **fields,
    }


@pytest.mark.asvs("16.2.1")
async def test_an_entry_goes_in_with_a_receipt_and_comes_out_whole(door: Door) -> None:
    receipts = await door.call(APPEND, {"entries": [entry(details={"b": 0.5, "a": [1]}, source="edge", index=9)]})
    answer = await door.call(QUERY, {})

    (shown,) = answer["entries"]
    assert receipts == {"receipts": [{"index": 0, "fingerprint": shown["fingerprint"]}]}
    assert shown == {
        "index": 0,
        "id": "e1",
        "requestId": "r1",
        "source": "auth",
        "phase": "outcome",
        "action": "auth.login",
        "outcome": "success",
        "userId": "",
        "userEmail": "ann@example.org",
        "ipAddress": "",
        "userAgent": "",
        "resourceType": "",
        "resourceId": "",
        "details": {"a": [1], "b": "0.5"},
        "timestamp": "2026-11-22T10:37:25.123Z",
        "previousFingerprint": "GENESIS",
        "fingerprint": shown["fingerprint"],
        "erased": [],
    }
    assert {name: answer[name] for name in ("total", "page", "limit", "pages", "integrityValid")} == {
        "total": 1,
        "page": 1,
        "limit": 50,
        "pages": 1,
        "integrityValid": True,
    }
    integrity = answer["integrity"]
    assert 0 <= integrity.pop("scrubAgeSeconds") < 5
    assert integrity == {"status": "valid", "verifiedEntries": 1, "checkpoint": None, "firstBadIndex": None}


@pytest.mark.asvs("16.4.2")
@pytest.mark.parametrize("action", ["audit.key_changed", "audit.personal_erased", "audit.exported"])
async def test_no_other_service_records_what_concerns_the_log_itself(door: Door, action: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        await door.call(APPEND, {"entries": [entry(), entry(id="e2", action=action)]})

    assert [problem.path for problem in refused.value.errors] == ["entries.1.action"]
    assert stored(door.file, "SELECT count(*) FROM entries") == [(0,)]


async def test_personal_values_stand_beside_the_body_and_not_in_it(door: Door) -> None:
    await door.call(APPEND, {"entries": [entry(ipAddress="192.0.2.7", userAgent="curl")]})

    ((body, personal),) = stored(door.file, "SELECT body, personal FROM entries")
    assert not any(value in body for value in (b"ann@example.org", b"192.0.2.7", b"curl"))
    assert all(value in personal for value in ("ann@example.org", "192.0.2.7", "curl"))


async def test_a_query_passes_every_filter_on(door: Door) -> None:
    await door.call(APPEND, {"entries": [entry(id=f"e{n}", requestId=f"r{n}") for n in range(3)]})

    answer = await door.call(
        QUERY,
        {
            "page": 2,
            "limit": 2,
            "userId": "",
            "action": "auth.login",
            "resourceType": "",
            "resourceId": "",
            "outcome": "success",
            "startDate": "2026-11-22T00:00:00Z",
            "endDate": "2026-11-22T11:37:25.123+01:00",
            "verify": "full",
        },
    )

    assert ([shown["id"] for shown in answer["entries"]], answer["total"], answer["pages"]) == (["e0"], 3, 2)
    assert answer["entries"][0]["previousFingerprint"] == "GENESIS"
    assert (await door.call(QUERY, {"requestId": "r1"}))["total"] == 1


@pytest.mark.asvs("8.2.1")
async def test_a_viewer_is_refused(door: Door) -> None:
    door.role = Role.VIEWER

    with pytest.raises(Forbidden):
        await door.call(QUERY, {})


@pytest.mark.parametrize(
    "bad",
    [
        {"limit": 101},
        {"page": 0},
        {"action": "no.such"},
        {"outcome": "maybe"},
        {"startDate": "yesterday"},
        {"startDate": "2026-11-22T10:00:00"},
        {"verify": "half"},
    ],
)
async def test_a_bad_filter_is_an_invalid_field(door: Door, bad: dict[str, object]) -> None:
    with pytest.raises(InvalidFields):
        await door.call(QUERY, bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"action": "no.such"},
        {"phase": "middle"},
        {"id": ""},
        {"id": "x" * 65},
        {"userAgent": "x" * 1025},
        {"concludeBy": -1},
        {"concludeBy": 2**53},
        {"details": []},
        {"details": {"x": "y" * MAX_DETAILS_BYTES}},
        {"timestamp": "now"},
    ],
)
async def test_an_entry_that_is_not_one_is_refused_and_nothing_is_recorded(door: Door, bad: dict[str, object]) -> None:
    with pytest.raises((InvalidFields, Malformed)):
        await door.call(APPEND, {"entries": [entry(), entry(id="e2") | bad]})

    assert stored(door.file, "SELECT count(*) FROM entries") == [(0,)]


@pytest.mark.parametrize(
    "forgery",
    [
        "body = x'ff'",
        "body = '[]'",
        "personal = 'x'",
        "personal = '{\"userEmail\":7}'",
        'personal = \'{"userEmail":{"value":7}}\'',
        "fingerprint = 'text'",
        "phase = x'00ff'",
        "timestamp = 'now'",
        "outcome = 'maybe'",
        "action = 'no.such'",
    ],
)
async def test_a_forged_entry_is_shown_as_it_is_stored_beside_the_verdict(door: Door, forgery: str) -> None:
    await door.call(APPEND, {"entries": [entry()]})
    forge(door.file, f"UPDATE entries SET {forgery}")

    answer = await door.call(QUERY, {})

    assert (answer["integrityValid"], answer["integrity"]["firstBadIndex"], len(answer["entries"])) == (False, 0, 1)


async def test_health_says_whether_the_log_can_be_written_and_believed(door: Door) -> None:
    await door.call(APPEND, {"entries": [entry()]})
    well = await door.call(HEALTH, {})
    forge(door.file, "UPDATE entries SET user_id = 'eve'")
    await door.call(QUERY, {})
    forged = await door.call(HEALTH, {})

    assert well == {"healthy": True, "message": ""}
    assert forged["healthy"] is False
    assert "from entry 0 on" in forged["message"]


async def test_health_says_when_the_log_is_out_of_reach(door: Door) -> None:
    door.file.unlink()

    answer = await door.call(HEALTH, {})

    assert answer == {"healthy": False, "message": "The audit log cannot be reached now; nothing was recorded."}
