"""A load of dispatches that remembers what was acknowledged."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from tests.e2e.platform import Platform

CLIENTS = 12


@dataclass
class Load:
    """What the clients have seen so far."""

    acknowledged: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)

    def note(self, answer: httpx.Response) -> None:
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            self.acknowledged.append(answer.json()["requestId"])
        elif answer.status_code not in {502, 503, 504} or "requestId" not in answer.json():
            self.unexpected.append(f"{answer.status_code} {answer.text}")
        elif answer.status_code == 503 and "retry-after" not in answer.headers:
            self.unexpected.append("503 without Retry-After")


@asynccontextmanager
async def load_of_dispatches(platform: Platform, key: str) -> AsyncIterator[Load]:
    """Dispatches from several clients, one after the other each, until the block ends."""
    load = Load()
    stop = asyncio.Event()
    async with platform.client(key) as client:
        tasks = [asyncio.create_task(_dispatch_until(stop, client, load)) for _ in range(CLIENTS)]
        try:
            yield load
        finally:
            stop.set()
            await asyncio.gather(*tasks)


async def _dispatch_until(stop: asyncio.Event, client: httpx.AsyncClient, load: Load) -> None:
    while not stop.is_set():
        try:
            load.note(await client.post("/api/v1/openclaw/dispatch", json={"message": "still there?"}))
        except httpx.TransportError:  # the edge itself was killed; the pool connects again
            await asyncio.sleep(0.05)


async def recorded(platform: Platform, key: str) -> Counter[str]:
    """How many outcomes of dispatches the audit log has for each request."""
    found: Counter[str] = Counter()
    async with platform.client(key) as client:
        page, pages = 1, 1
        while page <= pages:
            answer = await client.get("/api/v1/audit", params={"action": "agent.request", "limit": 100, "page": page})
            body = answer.json()
            assert body["integrityValid"] is True, body["integrity"]
            found.update(entry["requestId"] for entry in body["entries"] if entry["outcome"] == "success")
            page, pages = page + 1, body["pages"]
    return found


async def until_ready(platform: Platform, *, within: float) -> float:
    """Seconds until the platform says that it is whole."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() < began + within:
        try:
            async with platform.client() as client:
                if (await client.get("/ready")).status_code == 200:
                    return loop.time() - began
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError(f"not whole again after {within} s\n{platform.log()[-3000:]}")
