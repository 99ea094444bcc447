"""What nobody inside the data directory could tell: that all of it was put back to an older copy."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.platform import Platform


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path)
    yield platform
    platform.down()


def witnessed(platform: Platform) -> int:
    """How many entries the witness has seen."""
    lines = (platform.root / "data-witness/memory").read_text(encoding="utf-8").split("\n")
    return int(lines[2]) if len(lines) > 2 else 0


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await true():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.05)


async def entries(client: httpx.AsyncClient) -> int:
    return int((await client.get("/api/v1/audit", params={"limit": 1})).json()["total"])


async def all_is_witnessed(platform: Platform, client: httpx.AsyncClient) -> None:
    total = await entries(client)

    async def true() -> bool:
        return witnessed(platform) >= total

    await until(true)


async def test_an_older_copy_of_the_whole_data_directory_is_found_out(stopped: Platform) -> None:
    platform, data = stopped, stopped.root / "data"
    platform.up()
    key = platform.key("operator")
    async with platform.client(key) as client:
        await all_is_witnessed(platform, client)
        assert (await client.get("/health")).json()["status"] == "healthy"
    platform.down()
    shutil.copytree(data, platform.root / "older")
    platform.up()
    async with platform.client(key) as client:
        for number in range(5):
            made = await client.post("/api/v1/openclaw/dispatch", json={"message": f"number {number}"})
            assert made.status_code == 200, made.text
        await all_is_witnessed(platform, client)
        assert (await client.get("/health")).json()["status"] == "healthy"
    platform.down()
    shutil.rmtree(data)
    (platform.root / "older").rename(data)

    platform.up()

    async with platform.client(key) as client:

        async def is_found_out() -> bool:
            return bool((await client.get("/health")).json()["services"]["audit"]["status"] == "unhealthy")

        await until(is_found_out)
        health = (await client.get("/health")).json()
        page = (await client.get("/api/v1/audit")).json()
        full = (await client.get("/api/v1/audit", params={"verify": "full"})).json()
    assert (health["status"], health["services"]["witness"]["status"]) == ("degraded", "healthy")
    assert [answer["integrityValid"] for answer in (page, full)] == [False, False]
    assert page["integrity"]["status"] == "invalid"
    assert "log_contradicts_witness" in platform.log()


async def test_without_its_witness_the_platform_works_and_says_so(stopped: Platform) -> None:
    stopped.up()
    key = stopped.key("operator")
    stopped.down()
    (stopped.root / "data-witness/memory").unlink()

    stopped.up()

    async with stopped.client(key) as client:
        health = (await client.get("/health")).json()
        answer = await client.post("/api/v1/openclaw/dispatch", json={"message": "still here"})
    assert (health["status"], health["services"]["witness"]["status"]) == ("degraded", "unhealthy")
    assert answer.status_code == 200
