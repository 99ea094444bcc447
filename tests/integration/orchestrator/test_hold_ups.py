"""Nobody holds the others up: neither who sends much, nor who asks for a long list, nor one person's many requests."""

import asyncio
import time

import orjson
import pytest

from shared.bus import Bus
from shared.contracts.orchestrator import DISPATCH, LIST_AGENTS, REGISTER_AGENT, ListAgents, RegisterAgent
from shared.errors import PlatformError
from shared.principal import Role
from tests.integration.orchestrator.calls import dispatch, register, remove_built_in
from tests.integration.orchestrator.cluster import by
from tests.integration.orchestrator.ticking import longest_hold_up
from tests.integration.orchestrator.upstreams import Upstream

MIB = 1024 * 1024
HELD_UP_S = 0.3
"""Of the processor, on a machine that is shared with others; it takes some 10 ms for a long chat, and 60 at worst."""
AGENTS = 1000


def chat(turns: int, size: int) -> bytes:
    return orjson.dumps({"message": "x", "context": [{"role": "user", "content": "word " * (size // 5)}] * turns})


BODIES = {
    "a long chat": chat(11, 90_000),
    "many short turns": chat(1000, 900),
    "objects": b'{"message": "x", "tags": [' + b"{}," * (MIB // 3 - 20) + b"{}]}",
    "arrays": b'{"message": "x", "tags": [' + b"[]," * (MIB // 3 - 20) + b"[]]}",
    "names": b"{" + b",".join(b'"%d":0' % number for number in range(MIB // 10)) + b"}",
    "numbers": b'{"message": "x", "tags": [' + b"1," * (MIB // 2 - 20) + b"1]}",
    "tags": b'{"message": "x", "tags": [' + b'"a",' * (MIB // 4 - 20) + b'"a"]}',
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_of_1_mib_holds_nobody_up(edge: Bus, server: Upstream, name: str) -> None:
    agent = await register(edge, server)
    assert 0.8 * MIB < len(BODIES[name]) <= MIB

    async def send() -> str:
        try:
            return str(orjson.loads(await edge.forward(DISPATCH, BODIES[name], by(Role.OPERATOR)))["agentId"])
        except PlatformError as error:
            return error.reason

    async with longest_hold_up() as longest:
        outcome = await send()
        (answer, *_), *_ = await asyncio.gather(
            asyncio.gather(*(dispatch(edge) for _ in range(20))), asyncio.gather(*(send() for _ in range(4)))
        )

    assert outcome in {agent.id, "malformed-json", "invalid-fields"}
    assert answer.agent_id == agent.id
    assert longest.s < HELD_UP_S


async def test_a_thousand_agents_are_listed_and_chosen_from_and_hold_nobody_up(edge: Bus) -> None:
    await remove_built_in(edge)
    for start in range(0, AGENTS, 50):
        wishes = [RegisterAgent(name=f"agent {n}", type="echo", model="m") for n in range(start, start + 50)]
        await asyncio.gather(*(edge.call(REGISTER_AGENT, wish, by()) for wish in wishes))
    seen: list[str] = []

    async def list_all() -> None:
        cursor: str | None = None
        while True:
            page = orjson.loads(
                await edge.forward(LIST_AGENTS, orjson.dumps({"limit": 100, "cursor": cursor}), by(Role.VIEWER))
            )
            seen.extend(agent["id"] for agent in page["items"])
            cursor = page["nextCursor"]
            if cursor is None:
                return

    async with longest_hold_up() as longest:
        await edge.call(LIST_AGENTS, ListAgents(), by(Role.VIEWER))
        _, *answers = await asyncio.gather(list_all(), *(dispatch(edge) for _ in range(100)))

    assert len(seen) == len(set(seen)) == AGENTS
    assert len({answer.agent_id for answer in answers}) == len(answers)  # each its turn
    assert longest.s < HELD_UP_S


async def test_sixteen_requests_of_one_person_at_once_are_all_answered_again_and_again(
    edge: Bus, server: Upstream
) -> None:
    agent = await register(edge, server)
    slowest_s = 0.0

    async def ask() -> None:
        nonlocal slowest_s
        for _ in range(25):
            began = time.monotonic()
            assert (await dispatch(edge)).agent_id == agent.id
            slowest_s = max(slowest_s, time.monotonic() - began)

    await asyncio.gather(*(ask() for _ in range(16)))

    assert len(server.chats) == 16 * 25
    assert slowest_s < 5  # some 50 ms; a process that blocks itself never answers
