"""Streamed dispatches and chats through the whole platform, and everything that can end them."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import PASSWORD
from tests.e2e.platform import Platform
from tests.integration.leaving import Leave, close, half_close, reset
from tests.integration.orchestrator.speaking import Speaking, speaking
from tests.integration.ports import free_port
from tests.waiting import eventually, until

DISPATCH = "/api/v1/openclaw/dispatch"
CHAT = "/v1/chat/completions"
WISHES: dict[str, Any] = {
    DISPATCH: {"message": "Good day to you", "stream": True},
    CHAT: {"model": "auto", "messages": [{"role": "user", "content": "Good day to you"}], "stream": True},
}

either = pytest.mark.parametrize("path", [DISPATCH, CHAT])


async def test_a_streamed_dispatch_tells_words_then_the_whole(operator: httpx.AsyncClient) -> None:
    answer = await operator.post(DISPATCH, json=WISHES[DISPATCH])
    whole = (await operator.post(DISPATCH, json={"message": "Good day to you"})).json()

    events = _events(answer.text)
    done = events[-1][1]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["peanut-agent"] == done["agentId"]
    assert answer.headers["x-request-id"] == done["requestId"]
    assert {"ratelimit", "ratelimit-policy"} <= set(answer.headers)
    assert [name for name, _ in events] == [*["token"] * (len(events) - 1), "done"]
    assert len(events) > 2
    assert "".join(data["text"] for _, data in events[:-1]) == done["message"] == whole["message"]
    assert set(done) == set(whole)
    assert done["usage"] == whole["usage"]


async def test_a_stream_stands_in_the_audit_log_with_its_intent_and_its_outcome(operator: httpx.AsyncClient) -> None:
    answer = await operator.post(DISPATCH, json=WISHES[DISPATCH])

    wanted = {"requestId": answer.headers["x-request-id"]}
    entries = (await operator.get("/api/v1/audit", params=wanted)).json()["entries"]

    assert [(each["action"], each["phase"], each["outcome"]) for each in reversed(entries)] == [
        ("agent.request", "intent", None),
        ("agent.request", "outcome", "success"),
    ]
    assert "Good day" not in str(entries)


@pytest.mark.parametrize(
    ("changes", "headers", "status", "reason"),
    [
        ({"message": ""}, {}, 422, "invalid-fields"),
        ({"unknown": 1}, {}, 422, "invalid-fields"),
        ({"agentId": "none"}, {}, 404, "agent-not-found"),
        ({"model": "none"}, {}, 503, "no-healthy-agents"),
        ({}, {"Idempotency-Key": "a"}, 422, "invalid-fields"),
        ({}, {"Peanut-Timeout": "601"}, 422, "invalid-fields"),
    ],
)
async def test_what_cannot_be_streamed_is_an_ordinary_failure(
    changes: dict[str, object], headers: dict[str, str], status: int, reason: str, operator: httpx.AsyncClient
) -> None:
    answer = await operator.post(DISPATCH, json={**WISHES[DISPATCH], **changes}, headers=headers)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["type"] == f"/problems/{reason}"


@either
@pytest.mark.parametrize("spelled", [b'{"stre\\u0061m": true, %b', b'{"stream": true, "stream": false, %b'])
async def test_no_spelling_makes_a_stream_that_is_none(path: str, spelled: bytes, operator: httpx.AsyncClient) -> None:
    wish = {name: value for name, value in WISHES[path].items() if name != "stream"}
    body = spelled % json.dumps(wish).encode()[1:]

    answer = await operator.post(path, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code in (400, 422)


@dataclass
class Installation:
    """Two edges and two orchestrators, and a port at which there is an agent in each test."""

    platform: Platform
    key: str
    port: int


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    port = free_port()
    running = Platform(
        tmp_path_factory.mktemp("streams"),
        DEFAULT_ADMIN_PASSWORD=PASSWORD,
        AGENT_ALLOWED_HOSTS=f"127.0.0.1:{port}",
        SCALE="edge=2 orchestrator=2",
    )
    running.up()
    yield Installation(running, running.key("admin"), port)
    running.down()


@pytest.fixture
async def agent(installation: Installation) -> AsyncIterator[Speaking]:
    """An agent that says what tests have it say, and gets everything."""
    async with speaking(installation.port) as upstream, installation.platform.client(installation.key) as client:
        fields = {"name": "speaker", "type": "openai", "endpoint": f"{upstream.address}/v1", "model": "m"}
        made = await client.post("/api/v1/agents", json=fields)
        assert made.status_code == 201, made.text
        url = f"/api/v1/agents/{made.json()['id']}"

        async def is_online() -> bool:
            return str((await client.get(f"{url}/health")).json()["status"]) == "online"

        await eventually(is_online, within=10)
        yield upstream
        assert (await client.delete(url)).status_code == 204


@either
async def test_each_word_arrives_as_it_is_said(path: str, installation: Installation, agent: Speaking) -> None:
    reader, writer = await _ask(installation, path)
    await until(lambda: len(agent.calls) == 1)
    heard = []
    for word in ("Good", " day"):
        agent.calls[0].say(word)
        async with asyncio.timeout(5):
            heard.append(await reader.readuntil(word.encode()))
    agent.calls[0].finish()
    async with asyncio.timeout(5):
        rest = await reader.readuntil(b"0\r\n\r\n")
    writer.close()

    assert heard[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"event: done" if path == DISPATCH else b"data: [DONE]") in rest


@either
@pytest.mark.parametrize("leave", [close, half_close, reset])
async def test_the_agent_is_left_as_soon_as_the_client_leaves(
    path: str, leave: Leave, installation: Installation, agent: Speaking
) -> None:
    reader, writer = await _ask(installation, path)
    await until(lambda: len(agent.calls) == 1)
    agent.calls[0].say("Good")
    async with asyncio.timeout(5):
        await reader.readuntil(b"Good")

    leave(writer)
    await until(lambda: agent.calls[0].is_left)
    writer.close()


@either
async def test_an_agent_that_breaks_off_is_the_last_event(
    path: str, installation: Installation, agent: Speaking
) -> None:
    reader, writer = await _ask(installation, path)
    await until(lambda: len(agent.calls) == 1)
    agent.calls[0].say("Good")
    async with asyncio.timeout(5):
        await reader.readuntil(b"Good")
        agent.calls[0].break_off()
        rest = await reader.readuntil(b"0\r\n\r\n")
    writer.close()

    assert b"agent-failed" in rest
    assert b"DONE" not in rest
    assert (b"event: error\ndata: " if path == DISPATCH else b'data: {"error":') in rest


@either
async def test_a_stream_that_outlives_its_edge_ends_with_an_error(
    path: str, installation: Installation, agent: Speaking
) -> None:
    reader, writer = await _ask(installation, path)
    await until(lambda: len(agent.calls) == 1)
    agent.calls[0].say("Good")
    async with asyncio.timeout(5):
        await reader.readuntil(b"Good")

    pids = {installation.platform.send(f"edge-{number}", signal.SIGTERM) for number in (1, 2)}
    async with asyncio.timeout(20):
        rest = await reader.read()
    writer.close()

    async def are_back() -> bool:
        async with installation.platform.client() as client:
            try:
                ready = (await client.get("/ready")).status_code == 200
            except httpx.HTTPError:
                return False
        now = {installation.platform.pids()[f"edge-{number}"] for number in (1, 2)}
        return ready and None not in now and not pids & now

    await eventually(are_back, within=20)
    assert b"outcome-unknown" in rest
    assert rest.endswith(b"0\r\n\r\n")
    assert agent.calls[0].is_left


async def _ask(installation: Installation, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    body = json.dumps(WISHES[path]).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: localhost:{installation.platform.port}",
        f"Authorization: Bearer {installation.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    reader, writer = await asyncio.open_connection("localhost", installation.platform.port)
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()
    return reader, writer


def _events(text: str) -> list[tuple[str, Any]]:
    """Name and data of each event."""
    events = []
    for event in text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events
