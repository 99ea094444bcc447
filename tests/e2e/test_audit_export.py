"""The audit log as a file and as a stream, for who may have it."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.e2e.platform import Platform
from tests.e2e.test_events import ENDS_WITHIN_S, Watcher

EXPORT = "/api/v1/audit/export"
STREAM = "/api/v1/audit/stream"


@asynccontextmanager
async def following(client: httpx.AsyncClient, after: int | None = None) -> AsyncIterator[Watcher]:
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    async with client.stream("GET", STREAM, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield Watcher(answer)


async def entry(watcher: Watcher) -> dict[str, Any]:
    event = await watcher.event()
    told: dict[str, Any] = json.loads(event["data"])
    assert (event["event"], event["id"]) == ("entry", str(told["index"]))
    return told


async def test_the_log_is_a_file_of_lines_that_goes_on_where_it_was_broken_off(admin: httpx.AsyncClient) -> None:
    whole = await admin.get(EXPORT)
    lines = [json.loads(line) for line in whole.text.splitlines()]
    broken_off = lines[1 : len(lines) // 2]
    rest = await admin.get(EXPORT, params={"format": "jsonl", "from": broken_off[-1]["index"] + 1})
    more = [json.loads(line) for line in rest.text.splitlines()]

    assert whole.status_code == 200
    assert whole.headers["content-type"] == "application/x-ndjson"
    assert whole.headers["content-disposition"] == 'attachment; filename="peanut-audit-0.jsonl"'
    assert whole.headers["cache-control"] == "no-store"
    assert (lines[0]["format"], lines[0]["from"], set(lines[-1])) == ("peanut-audit/v1", 0, {"checkpoint"})
    joined = [*broken_off, *more[1:-1]]
    assert [line["index"] for line in joined] == list(range(len(joined)))
    assert joined[: len(lines) - 2] == lines[1:-1]
    assert int(more[-1]["checkpoint"].split("\n")[1]) == len(joined)


async def test_an_export_is_itself_in_the_log_with_who_and_how_much(admin: httpx.AsyncClient) -> None:
    answer = await admin.get(EXPORT, params={"format": "csv", "from": 0, "to": 4})

    found = await admin.get("/api/v1/audit", params={"action": "audit.exported", "limit": 2})

    outcome, intent = found.json()["entries"]
    wanted = {"format": "csv", "from": 0, "to": 4}
    assert (intent["phase"], intent["details"]) == ("intent", wanted)
    assert (outcome["phase"], outcome["outcome"], outcome["details"]) == ("outcome", "success", {**wanted, "count": 5})
    assert outcome["requestId"] == intent["requestId"] == answer.headers["x-request-id"]
    assert outcome["userEmail"] == (await admin.get("/api/v1/auth/me")).json()["email"]


async def test_the_log_as_csv(admin: httpx.AsyncClient) -> None:
    answer = await admin.get(EXPORT, params={"format": "csv"})
    rest = await admin.get(EXPORT, params={"format": "csv", "from": 1, "to": 1})

    rows = list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert [int(row["index"]) for row in rows] == list(range(len(rows)))
    assert rest.text == answer.text.split("\r\n")[2] + "\r\n"


async def test_the_log_as_ocsf(admin: httpx.AsyncClient) -> None:
    answer = await admin.get(EXPORT, params={"format": "ocsf"})

    events = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [event["metadata"]["sequence"] for event in events] == list(range(len(events)))
    assert {event["class_uid"] for event in events} <= {3001, 3002, 3005, 6003}


@pytest.mark.parametrize(
    "query", ["format=xml", "form=csv", "from=-1", "to=x", "from=2&to=1", "from=99999999", "first=1", "from=1&from=2"]
)
async def test_parameters_that_mean_nothing_are_refused(query: str, admin: httpx.AsyncClient) -> None:
    answer = await admin.get(f"{EXPORT}?{query}")

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "role", "status"),
    [
        (EXPORT, None, 401),
        (EXPORT, "viewer", 403),
        (EXPORT, "operator", 403),
        (STREAM, None, 401),
        (STREAM, "viewer", 403),
    ],
)
async def test_each_needs_its_role(path: str, role: str | None, status: int, platform: Platform) -> None:
    async with platform.client(platform.key(role) if role else None) as client:
        answer = await client.get(path)

    assert answer.status_code == status


async def test_entries_are_told_once_they_are_committed_and_again_from_where_one_was(
    operator: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    async with following(operator) as watcher:
        made = await admin.post("/api/v1/agents", json={"name": "followed", "type": "echo", "model": "echo"})
        told = [await entry(watcher)]
        while (told[-1]["action"], told[-1]["phase"]) != ("agent.created", "outcome"):
            told.append(await entry(watcher))
    await admin.delete(f"/api/v1/agents/{made.json()['id']}")
    async with following(operator, told[0]["index"]) as watcher:
        again = [await entry(watcher)]
        while (again[-1]["action"], again[-1]["phase"]) != ("agent.deleted", "outcome"):
            again.append(await entry(watcher))
    page = await operator.get("/api/v1/audit", params={"limit": 100})

    assert again[: len(told) - 1] == told[1:]
    indexes = [found["index"] for found in (told[0], *again)]
    assert indexes == list(range(indexes[0], indexes[0] + len(indexes)))
    queried = {found["index"]: found for found in page.json()["entries"]}
    assert all(queried[found["index"]] == found for found in again)


async def test_the_stream_ends_with_the_session(platform: Platform) -> None:
    async with platform.signed_in() as client, following(client) as watcher:
        assert (await client.post("/api/v1/auth/logout")).status_code == 204
        async with asyncio.timeout(ENDS_WITHIN_S):
            event = await watcher.event()
            while event["event"] != "end":
                event = await watcher.event()

    assert json.loads(event["data"])["reason"] == "invalid-session"


@pytest.mark.parametrize("given", ["x", "-1", "99999999"])
async def test_where_there_is_nothing_to_go_on_from_is_refused(given: str, operator: httpx.AsyncClient) -> None:
    answer = await operator.get(STREAM, headers={"Last-Event-ID": given})

    assert answer.status_code == 422
