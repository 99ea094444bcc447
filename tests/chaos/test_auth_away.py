"""Auth is away: who is known is served for as long as that is certain, and everybody again as soon as it is back."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.chaos.load import until_ready
from tests.e2e.conftest import PASSWORD
from tests.e2e.platform import Platform

KNOWN_FOR_S = 0.5
"""Auth publishes every 0.5 s and is believed for 1 s after each time, so that is certain for half a second at least."""
CERTAIN_S = 1.0
ASKED_FOR_S = 1.0
SLOW_MACHINE = 4
WATCHED_S = 2.5


@dataclass(frozen=True)
class Asked:
    """One request: when it began, in seconds since auth was paused, how long it took and what came of it."""

    began_s: float
    took_s: float
    status: int


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    running = Platform(tmp_path_factory.mktemp("auth-away"), DEFAULT_ADMIN_PASSWORD=PASSWORD)
    running.admin_password = PASSWORD
    running.up()
    yield running
    running.down()


@pytest.fixture(scope="module")
def key(platform: Platform) -> str:
    return platform.key("admin")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/agents", None),
        ("GET", "/api/v1/auth/me", None),
        ("POST", "/api/v1/openclaw/dispatch", {"message": "still there?"}),
    ],
    ids=["agents", "me", "dispatch"],
)
async def test_a_known_key_is_served_without_auth_until_its_silence_has_to_be_explained(
    platform: Platform, key: str, method: str, path: str, body: dict[str, str] | None
) -> None:
    async with platform.client(key) as client:
        assert (await client.request(method, path, json=body)).status_code == 200
        paused = platform.send("auth-1", signal.SIGSTOP)
        try:
            asked = await _ask_again_and_again(client, method, path, body)
        finally:
            os.kill(paused, signal.SIGCONT)
        await until_ready(platform, within=3 * SLOW_MACHINE)
        again = await client.request(method, path, json=body)

    early = [each for each in asked if each.began_s + each.took_s < KNOWN_FOR_S]
    late = [each for each in asked if each.began_s > CERTAIN_S]
    assert {each.status for each in early} == {200}
    assert {each.status for each in late} == {503}
    assert {each.status for each in asked} == {200, 503}
    assert max(each.took_s for each in asked) < ASKED_FOR_S * SLOW_MACHINE
    assert again.status_code == 200


async def test_an_edge_that_cannot_have_keys_checked_is_not_ready(platform: Platform, key: str) -> None:
    async with platform.client() as anonymous:
        paused = platform.send("auth-1", signal.SIGSTOP)
        try:
            while_away = await anonymous.get("/ready")
        finally:
            os.kill(paused, signal.SIGCONT)
        await until_ready(platform, within=3 * SLOW_MACHINE)

    assert (while_away.status_code, while_away.json()) == (503, {"ready": False})


async def test_keys_work_again_after_auth_was_killed_and_none_is_ever_called_wrong(
    platform: Platform, key: str
) -> None:
    async with platform.signed_in() as admin, platform.client(key) as known:
        never_used = [(await admin.post("/api/v1/keys", json={"name": f"new {n}"})).json()["key"] for n in range(3)]
        statuses = []
        for fresh in never_used:
            platform.send("auth-1", signal.SIGKILL)
            until = time.monotonic() + 1
            while time.monotonic() < until:
                statuses.append((await known.get("/api/v1/agents")).status_code)
            await until_ready(platform, within=5 * SLOW_MACHINE)
            async with platform.client(fresh) as client:
                statuses.append((await client.get("/api/v1/agents")).status_code)
                assert statuses[-1] == 200
            assert (await known.get("/api/v1/agents")).status_code == 200
            assert (await admin.get("/api/v1/auth/me")).status_code == 200

    assert set(statuses) <= {200, 503, 504}


async def _ask_again_and_again(
    client: httpx.AsyncClient, method: str, path: str, body: dict[str, str] | None
) -> list[Asked]:
    asked: list[Asked] = []
    start = time.monotonic()
    while (began := time.monotonic()) < start + WATCHED_S:
        answer = await client.request(method, path, json=body)
        assert answer.status_code == 200 or answer.headers["retry-after"]
        asked.append(Asked(began - start, time.monotonic() - began, answer.status_code))
        await asyncio.sleep(0.02)
    return asked
