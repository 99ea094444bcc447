"""Clients who leave while an agent works for them: it is left as well, at once, and the record says so."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import PASSWORD
from tests.e2e.platform import Platform
from tests.integration.leaving import Leave, close, half_close, reset
from tests.integration.orchestrator.holding import Holding, holding
from tests.integration.ports import free_port
from tests.waiting import eventually, until

NOTICED_WITHIN_S = 1.0
"""It takes some milliseconds, which `make bench` measures; this machine may have other things to do."""


@dataclass
class Installation:
    """Two edges and two orchestrators, and a port at which there is an agent in each test."""

    platform: Platform
    key: str
    agent_port: int


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    port = free_port()
    running = Platform(
        tmp_path_factory.mktemp("leaving"),
        DEFAULT_ADMIN_PASSWORD=PASSWORD,
        AGENT_ALLOWED_HOSTS=f"127.0.0.1:{port}",
        SCALE="edge=2 orchestrator=2",
    )
    running.up()
    yield Installation(running, running.key("admin"), port)
    running.down()


@pytest.fixture
async def agent(installation: Installation) -> AsyncIterator[Holding]:
    """An agent that keeps everybody waiting, and gets all dispatches."""
    async with holding(installation.agent_port) as upstream, _client(installation) as client:
        fields = {"name": "slow", "type": "openai", "endpoint": f"{upstream.address}/v1", "model": "m"}
        made = await client.post("/api/v1/agents", json=fields)
        assert made.status_code == 201, made.text
        url = f"/api/v1/agents/{made.json()['id']}"

        async def is_online() -> bool:
            return str((await client.get(f"{url}/health")).json()["status"]) == "online"

        await eventually(is_online, within=10)
        yield upstream
        upstream.release()
        assert (await client.delete(url)).status_code == 204


@pytest.mark.parametrize("leave", [close, half_close, reset])
@pytest.mark.parametrize("head_first", [False, True], ids=["before the head", "in the body"])
async def test_the_agent_is_left_at_once_and_one_entry_says_cancelled(
    leave: Leave, head_first: bool, installation: Installation, agent: Holding
) -> None:
    agent.head_first = head_first
    request_id = f"leaves-{leave.__name__}-{head_first}"
    _, writer = await _dispatch(installation, request_id)
    await until(lambda: len(agent.held) == 1)

    leave(writer)
    await until(lambda: len(agent.left) == 1, within=NOTICED_WITHIN_S)
    writer.close()

    entries = await _recorded(installation, request_id)
    assert [(each["phase"], each["outcome"], each["details"]["reason"]) for each in entries] == [
        ("outcome", "unknown", "cancelled")
    ]
    assert agent.begun == 1
    _is_undisturbed(installation)


async def test_a_client_that_pipelines_a_large_request_is_noticed_too(
    installation: Installation, agent: Holding
) -> None:
    message = "x" * 90_000
    _, writer = await _dispatch(installation, "large-and-pipelined", message=message)
    writer.write(_request(installation, "sent-ahead"))
    await until(lambda: len(agent.held) == 1)

    writer.close()
    await until(lambda: len(agent.left) == 1, within=NOTICED_WITHIN_S)

    assert len(await _recorded(installation, "large-and-pipelined")) == 1
    assert agent.begun == 1


async def test_fifty_leave_at_once_and_who_stays_is_answered(installation: Installation, agent: Holding) -> None:
    ids = [f"crowd-{number}" for number in range(50)]
    leaving = [await _dispatch(installation, request_id) for request_id in ids]
    reader, staying = await _dispatch(installation, "crowd-stays")
    await until(lambda: len(agent.held) == 51)

    for _, writer in leaving:
        writer.close()
    await until(lambda: len(agent.left) == 50, within=2 * NOTICED_WITHIN_S)
    agent.release()
    status = await asyncio.wait_for(reader.readline(), 5)
    staying.close()

    for request_id in ids:
        (entry,) = await _recorded(installation, request_id)
        assert entry["details"]["reason"] == "cancelled"
    (entry,) = await _recorded(installation, "crowd-stays")
    assert (status, entry["outcome"]) == (b"HTTP/1.1 200 OK\r\n", "success")
    assert agent.begun == 51
    _is_undisturbed(installation)


async def test_whoever_leaves_as_the_answer_comes_is_recorded_once(installation: Installation, agent: Holding) -> None:
    ids = [f"late-{number}" for number in range(40)]
    writers = [(await _dispatch(installation, request_id))[1] for request_id in ids]
    await until(lambda: len(agent.held) == 40)

    agent.release()
    for writer in writers:
        writer.close()
        await asyncio.sleep(0.0005)

    outcomes = {request_id: await _recorded(installation, request_id) for request_id in ids}
    assert {len(entries) for entries in outcomes.values()} == {1}
    assert {entries[0]["outcome"] for entries in outcomes.values()} <= {"success", "unknown"}
    _is_undisturbed(installation)


def _request(installation: Installation, request_id: str, *, message: str = "Hello") -> bytes:
    body = json.dumps({"message": message}).encode()
    lines = [
        "POST /api/v1/openclaw/dispatch HTTP/1.1",
        f"Host: localhost:{installation.platform.port}",
        f"Authorization: Bearer {installation.key}",
        f"X-Request-Id: {request_id}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _dispatch(
    installation: Installation, request_id: str, *, message: str = "Hello"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("localhost", installation.platform.port)
    writer.write(_request(installation, request_id, message=message))
    await writer.drain()
    return reader, writer


async def _recorded(installation: Installation, request_id: str) -> list[dict[str, Any]]:
    """The entries of that dispatch, once there are some."""
    wanted = {"requestId": request_id, "action": "agent.request"}
    entries: list[dict[str, Any]] = []

    async with _client(installation) as client:

        async def is_there() -> bool:
            nonlocal entries
            entries = (await client.get("/api/v1/audit", params=wanted)).json()["entries"]
            return bool(entries)

        await eventually(is_there)
    return entries


@asynccontextmanager
async def _client(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    async with installation.platform.client(installation.key) as client:
        yield client


def _is_undisturbed(installation: Installation) -> None:
    """No service of ours has logged more than information."""
    events = [json.loads(line) for line in installation.platform.log().splitlines() if line.startswith("{")]
    ours = [event for event in events if event["service"] != "nats"]
    assert ours
    assert [event for event in ours if event["level"] not in {"debug", "info"}] == []
