"""Any process may be killed at any time: nothing that was acknowledged is lost, and the whole heals itself."""

import asyncio
import os
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.chaos.load import load_of_dispatches, recorded, until_ready
from tests.e2e.platform import Platform

PASSWORD = "orange bicycle under the bridge"
WHOLE_AGAIN_S = 3.0
SLOW_MACHINE = 4
"""CI machines share their cores; the measured times are in docs/benchmarks.md."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    running = Platform(tmp_path_factory.mktemp("chaos"), DEFAULT_ADMIN_PASSWORD=PASSWORD)
    running.admin_password = PASSWORD
    running.up()
    yield running
    running.down()


@pytest.fixture(scope="module")
def key(platform: Platform) -> str:
    return platform.key("admin")


@pytest.mark.parametrize("victim", ["audit-1", "orchestrator-1", "auth-1", "edge-1", "witness-1", "nats"])
async def test_a_killed_process_loses_no_acknowledged_dispatch(victim: str, platform: Platform, key: str) -> None:
    async with load_of_dispatches(platform, key) as load:
        await asyncio.sleep(1)
        before = len(load.acknowledged)
        platform.send(victim, signal.SIGKILL)
        await asyncio.sleep(0.1)
        await until_ready(platform, within=WHOLE_AGAIN_S * SLOW_MACHINE)
        again = len(load.acknowledged)
        await asyncio.sleep(2)
        after = len(load.acknowledged)
    await until_ready(platform, within=WHOLE_AGAIN_S * SLOW_MACHINE)
    await asyncio.sleep(1.5)  # what waited in an outbox is delivered

    outcomes = await recorded(platform, key)

    assert load.unexpected == []
    assert before > 0
    assert after > again
    missing = [request for request in load.acknowledged if outcomes[request] != 1]
    assert missing == []


@pytest.mark.asvs("16.5.3")
async def test_while_audit_is_stopped_no_change_is_done(platform: Platform, key: str) -> None:
    async with platform.client(key) as client, platform.signed_in() as browser:
        paused = platform.send("audit-1", signal.SIGSTOP)
        try:
            await asyncio.sleep(1.1)
            began = asyncio.get_running_loop().time()
            created = await client.post("/api/v1/agents", json={"name": "unseen", "type": "echo", "model": "echo"})
            dispatched = await client.post("/api/v1/openclaw/dispatch", json={"message": "x"})
            took = asyncio.get_running_loop().time() - began
            logged_out = await browser.post("/api/v1/auth/logout")
            gone = await browser.get("/api/v1/auth/me")
        finally:
            os.kill(paused, signal.SIGCONT)
        await until_ready(platform, within=WHOLE_AGAIN_S * SLOW_MACHINE)
        agents = (await client.get("/api/v1/agents")).json()["items"]

        for answer in (created, dispatched):
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/audit-unavailable")
            assert answer.headers["retry-after"]
        assert took < 2 * 2.5 * SLOW_MACHINE
        assert (logged_out.status_code, gone.status_code) == (204, 401)
        assert "unseen" not in [agent["name"] for agent in agents]
        await _eventually_recorded(client, "auth.logout")


@pytest.mark.asvs("16.5.3")
async def test_while_auth_is_gone_nobody_is_believed_from_memory(platform: Platform, key: str) -> None:
    async with platform.client(key) as client:
        assert (await client.get("/api/v1/auth/me")).status_code == 200
        paused = platform.send("auth-1", signal.SIGSTOP)
        try:
            await asyncio.sleep(1.6)
            answer = await client.get("/api/v1/auth/me")
        finally:
            os.kill(paused, signal.SIGCONT)
        await until_ready(platform, within=WHOLE_AGAIN_S * SLOW_MACHINE)
        again = await client.get("/api/v1/auth/me")

    assert answer.status_code in {503, 504}
    assert again.status_code == 200


async def _eventually_recorded(client: httpx.AsyncClient, action: str) -> None:
    for _ in range(50):
        found = (await client.get("/api/v1/audit", params={"action": action})).json()["entries"]
        if found:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{action} never reached the audit log")
