"""Two replicas of every service behave as one."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.platform import Platform

PASSWORD = "orange bicycle under the bridge"
CONNECTIONS = 16
"""Each new connection meets one of the edges; the kernel chooses."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    running = Platform(
        tmp_path_factory.mktemp("pair"),
        DEFAULT_ADMIN_PASSWORD=PASSWORD,
        SCALE="edge=2 auth=2 orchestrator=2 audit=2",
    )
    running.admin_password = PASSWORD
    running.up()
    yield running
    running.down()


async def everywhere(platform: Platform, path: str, key: str) -> list[httpx.Response]:
    """The answers on connections of their own."""

    async def ask() -> httpx.Response:
        async with platform.client(key, verify=False) as client:
            return await client.get(path)

    return list(await asyncio.gather(*(ask() for _ in range(CONNECTIONS))))


async def test_every_replica_is_seen(pair: Platform) -> None:
    async with pair.client(pair.key()) as client:
        services = (await client.get("/health")).json()["services"]

    assert {name: service["replicas"] for name, service in services.items()} == {
        **dict.fromkeys(services, 2),
        "witness": 1,
    }
    assert set(services) == {"edge", "auth", "orchestrator", "audit", "witness"}


async def test_a_revoked_key_is_dead_in_every_edge_within_a_second(pair: Platform) -> None:
    async with pair.signed_in() as admin:
        made = (await admin.post("/api/v1/keys", json={"name": "short-lived", "role": "viewer"})).json()
        alive = await everywhere(pair, "/api/v1/auth/me", made["key"])
        revoked = await admin.delete(f"/api/v1/keys/{made['id']}")
        await asyncio.sleep(1)
        dead = await everywhere(pair, "/api/v1/auth/me", made["key"])

    assert revoked.status_code == 204
    assert {answer.status_code for answer in alive} == {200}
    assert {answer.status_code for answer in dead} == {401}


async def test_what_one_replica_registers_all_know_at_once(pair: Platform) -> None:
    key = pair.key()
    async with pair.client(key) as client:
        agent = (await client.post("/api/v1/agents", json={"name": "new", "type": "echo", "model": "echo"})).json()

    lists = await everywhere(pair, "/api/v1/agents", key)

    assert all(agent["id"] in [item["id"] for item in answer.json()["items"]] for answer in lists)


async def test_of_two_edits_of_one_agent_at_once_one_is_done_and_one_hears_that_it_is_stale(pair: Platform) -> None:
    key = pair.key("admin")
    async with pair.client(key) as client:
        made = await client.post("/api/v1/agents", json={"name": "edited", "type": "echo", "model": "echo"})
        url, tag = made.headers["location"], (await client.get(made.headers["location"])).headers["etag"]

        async def edit(weight: int) -> httpx.Response:
            async with pair.client(key, verify=False) as own:
                return await own.put(url, json={"weight": weight}, headers={"If-Match": tag})

        rounds = []
        for first in (1, 3, 5, 7):
            rounds.append(await asyncio.gather(edit(first), edit(first + 1)))
            tag = (await client.get(url)).headers["etag"]
        after = (await client.get(url)).json()
        removed = await client.delete(url)

    assert [sorted(answer.status_code for answer in each) for each in rounds] == [[200, 412]] * 4
    refusals = [answer for each in rounds for answer in each if answer.status_code == 412]
    assert {answer.json()["type"] for answer in refusals} == {"/problems/stale-agent"}
    assert after["weight"] == next(answer.json()["weight"] for answer in rounds[-1] if answer.status_code == 200)
    assert (after["version"], removed.status_code) == (5, 204)


async def test_dispatches_through_all_replicas_make_one_intact_log(pair: Platform) -> None:
    key = pair.key()

    async def dispatch() -> httpx.Response:
        async with pair.client(key, verify=False) as client:
            return await client.post("/api/v1/openclaw/dispatch", json={"message": "x"})

    answers = await asyncio.gather(*(dispatch() for _ in range(CONNECTIONS)))
    async with pair.client(key) as client:
        page = (await client.get("/api/v1/audit", params={"action": "agent.request", "limit": 100})).json()

    assert {answer.status_code for answer in answers} == {200}
    recorded = sorted(entry["requestId"] for entry in page["entries"])
    assert recorded == sorted(answer.json()["requestId"] for answer in answers)
    assert page["integrityValid"] is True
