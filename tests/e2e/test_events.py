"""What happens on the platform, told to who watches, for as long as they may."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.e2e.platform import Platform

EVENTS = "/api/v1/events"
ENDS_WITHIN_S = 1.5
"""A second, and what this machine may have to do meanwhile."""


class Watcher:
    """Reads events, but comments and the opening."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def event(self) -> dict[str, str]:
        """The next event's fields; empty when the stream is over."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "event" in fields:
                    return fields
        return fields if "event" in fields else {}

    async def event_of(self, agent: str, name: str) -> dict[str, object]:
        """What is told by the next event of that name about that agent."""
        while True:
            event = await self.event()
            data: dict[str, object] = json.loads(event["data"])
            if (data["agentName"], event["event"]) == (agent, name):
                return data


@asynccontextmanager
async def watching(client: httpx.AsyncClient) -> AsyncIterator[Watcher]:
    async with client.stream("GET", EVENTS) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield Watcher(answer)


async def test_the_life_of_an_agent_is_told(admin: httpx.AsyncClient, platform: Platform) -> None:
    async with platform.client(platform.key("viewer")) as viewer, watching(viewer) as watcher:
        made = (await admin.post("/api/v1/agents", json={"name": "watched", "type": "echo", "model": "echo"})).json()
        url = f"/api/v1/agents/{made['id']}"
        created = await watcher.event_of("watched", "agent.created")
        await admin.put(url, json={"weight": 7})
        updated = await watcher.event_of("watched", "agent.updated")
        await admin.post(f"{url}/maintenance", json={"enabled": True})
        begun = await watcher.event_of("watched", "agent.maintenance_begun")
        await admin.post(f"{url}/maintenance", json={"enabled": False})
        ended = await watcher.event_of("watched", "agent.maintenance_ended")
        await admin.delete(url)
        deleted = await watcher.event_of("watched", "agent.deleted")

    told = [created, updated, begun, ended, deleted]
    assert {data["agentId"] for data in told} == {made["id"]}
    assert [data["change"] for data in told] == [
        "created",
        "updated",
        "maintenance_begun",
        "maintenance_ended",
        "deleted",
    ]


async def test_a_change_of_an_agents_health_is_told(admin: httpx.AsyncClient) -> None:
    async with watching(admin) as watcher:
        made = (await admin.post("/api/v1/agents", json={"name": "healthy", "type": "echo", "model": "echo"})).json()
        url = f"/api/v1/agents/{made['id']}"
        await admin.post(f"{url}/maintenance", json={"enabled": True})
        changed = await watcher.event_of("healthy", "agent.health_changed")
        await admin.delete(url)

    assert set(changed) == {"timestamp", "agentId", "agentName", "status", "previousStatus", "details"}
    assert changed["agentId"] == made["id"]


async def test_a_stream_ends_with_the_session(platform: Platform) -> None:
    async with platform.signed_in() as client, watching(client) as watcher:
        assert (await client.post("/api/v1/auth/logout")).status_code == 204
        async with asyncio.timeout(ENDS_WITHIN_S):
            event = await watcher.event()
            while event["event"] != "end":
                event = await watcher.event()
        after = await watcher.event()

    assert json.loads(event["data"])["reason"] == "invalid-session"
    assert after == {}


async def test_a_stream_ends_with_the_key(admin: httpx.AsyncClient, platform: Platform) -> None:
    made = (await admin.post("/api/v1/keys", json={"name": "watching", "role": "viewer"})).json()
    async with platform.client(made["key"]) as client, watching(client) as watcher:
        assert (await admin.delete(f"/api/v1/keys/{made['id']}")).status_code == 204
        async with asyncio.timeout(ENDS_WITHIN_S):
            event = await watcher.event()
            while event["event"] != "end":
                event = await watcher.event()

    assert json.loads(event["data"])["reason"] == "invalid-api-key"


@pytest.mark.parametrize("path", [EVENTS, f"{EVENTS}?from=1"])
async def test_strangers_and_parameters_are_refused(
    path: str, anonymous: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    stranger = await anonymous.get(path)

    assert stranger.status_code == 401
    if "?" in path:
        assert (await operator.get(path)).status_code == 422


async def test_a_ninth_stream_of_one_user_is_too_many(platform: Platform, operator: httpx.AsyncClient) -> None:
    async with platform.client(platform.key("viewer")) as client:
        opened = [client.stream("GET", EVENTS) for _ in range(9)]
        answers = [await stream.__aenter__() for stream in opened]
        statuses = [answer.status_code for answer in answers]
        for stream in opened:
            await stream.__aexit__(None, None, None)

    assert statuses == [200] * 8 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
