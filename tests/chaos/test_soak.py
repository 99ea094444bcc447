"""Memory after thousands of requests of every kind: what they needed is given back."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.chaos.memory import resident_mib
from tests.e2e.conftest import PASSWORD
from tests.e2e.platform import Platform
from tests.integration.orchestrator.upstreams import OPENAI_ANSWER, Reply, Upstream, closes_at_once, hangs, json_reply
from tests.integration.ports import free_port
from tests.waiting import eventually

DISPATCH = "/api/v1/openclaw/dispatch"
CLIENTS = 16
WARM_UP, ROUND, ROUNDS = 1000, 1000, 3
PATIENCE_S = 0.3
AT_MOST_S = 10.0
"""How long one round may go on where the machine is too slow for all of it."""
GROWTH_MIB = 4.0
"""From the end of the warm-up to the end: 1 KiB and a half for each request. It is some 0.5 MiB in each process."""


@dataclass
class Installation:
    """A platform, a key to it, and the ports of two agents: one that fails now and then, and one that does not."""

    platform: Platform
    key: str
    ports: tuple[int, int]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    ports = free_port(), free_port()
    running = Platform(
        tmp_path_factory.mktemp("soak"),
        DEFAULT_ADMIN_PASSWORD=PASSWORD,
        AGENT_ALLOWED_HOSTS=",".join(f"127.0.0.1:{port}" for port in ports),
    )
    running.up()
    yield Installation(running, running.key("admin"), ports)
    running.down()


def now_and_then() -> Reply:
    """Every fifth caller is cut off and every seventh kept waiting, which is never three failures in a row."""
    count = 0

    async def write(writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        behaviour = closes_at_once if count % 5 == 0 else hangs if count % 7 == 0 else json_reply(OPENAI_ANSWER)
        await behaviour(writer)

    return write


async def test_thousands_of_requests_of_every_kind_leave_no_memory_behind(installation: Installation) -> None:
    failing, good = Upstream(chat=now_and_then()), Upstream()
    servers = [
        await asyncio.start_server(upstream.serve, "127.0.0.1", port)
        for upstream, port in zip((failing, good), installation.ports, strict=True)
    ]
    async with installation.platform.client(installation.key) as client:
        for name, port, priority in (("failing", installation.ports[0], 6), ("good", installation.ports[1], 5)):
            await _register(client, name, port, priority)
        ended = await _requests(installation, WARM_UP)
        before = resident_mib(installation.platform)
        for _ in range(ROUNDS):
            ended += await _requests(installation, ROUND)
            failing.requests.clear()
            good.requests.clear()
        after = resident_mib(installation.platform)
    for server in servers:
        server.close()

    growth = {process: round(after[process] - before[process], 1) for process in after}
    assert ended["200"] > WARM_UP / 4
    assert {"200", "401", "422", "503", "left"} <= ended.keys()
    assert not {"500", "502"} & ended.keys(), ended
    assert max(growth.values()) < GROWTH_MIB, (growth, before, ended)


async def _register(client: httpx.AsyncClient, name: str, port: int, priority: int) -> None:
    fields = {"name": name, "type": "openai", "endpoint": f"http://127.0.0.1:{port}/v1", "model": "m"}
    made = await client.post("/api/v1/agents", json={**fields, "priority": priority})
    assert made.status_code == 201, made.text

    async def is_online() -> bool:
        return str((await client.get(f"{made.headers['location']}/health")).json()["status"]) == "online"

    await eventually(is_online, within=10)


async def _requests(installation: Installation, count: int) -> Counter[str]:
    """So many requests by several clients, and how they ended."""
    ended: Counter[str] = Counter()
    until = asyncio.get_running_loop().time() + AT_MOST_S
    numbers = iter(range(count))

    async def ask() -> None:
        client = Client(installation.platform.port)
        for number in numbers:
            if asyncio.get_running_loop().time() > until:
                break
            ended[await _one(client, installation.key, number)] += 1
        client.leave()

    await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    return ended


async def _one(client: "Client", key: str, number: int) -> str:
    message: dict[str, object] = {"message": f"{number} " + "x" * 2000}
    match number % 20:
        case 0:
            await client.send("POST", DISPATCH, key, message)
            client.leave()
            return "left"
        case 1:
            return await client.ask("POST", DISPATCH, f"wrong {number}", message)
        case 2:
            return await client.ask("POST", DISPATCH, key, message | {"unknown": number})
        case 3:
            return await client.ask("POST", DISPATCH, key, message | {"model": f"nobody's {number}"})
        case 4:
            return await client.ask("GET", "/api/v1/agents", key)
        case _:
            return await client.ask("POST", DISPATCH, key, message)


class Client:
    """One connection, and no more work for each request than there has to be."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, method: str, path: str, key: str, body: object = None) -> asyncio.StreamReader:
        if self._connection is None:
            self._connection = await asyncio.open_connection("localhost", self._port)
        reader, writer = self._connection
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: localhost:{self._port}",
            f"Authorization: Bearer {key}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await writer.drain()
        return reader

    async def ask(self, method: str, path: str, key: str, body: object = None) -> str:
        """The status of the answer; `left` when it took so long that this client went away."""
        reader = await self.send(method, path, key, body)
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(re.findall(r"content-length: (\d+)", head)[0]))
        except TimeoutError:
            self.leave()
            return "left"
        return head.split()[1]

    def leave(self) -> None:
        if self._connection is not None:
            self._connection[1].close()
            self._connection = None
