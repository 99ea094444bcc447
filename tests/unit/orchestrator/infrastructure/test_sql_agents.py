"""Agents in a real SQLite database."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.domain.agent import Agent, AgentId, AgentNameTaken, AgentNotFound, StaleAgent
from orchestrator.infrastructure.sql_agents import SqlAgents
from orchestrator.prepare import prepare
from shared.database import open_database
from tests.unit.orchestrator.agents import NOW, agent


@pytest.fixture
def url(migrated: Path, tmp_path: Path) -> str:
    file = shutil.copy(migrated, tmp_path / "orchestrator.db")
    url = f"sqlite+aiosqlite:///{file}"
    prepare(url)
    return url


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlAgents]:
    async with open_database(url) as database:
        yield SqlAgents(database)


async def test_an_agent_comes_back_as_it_was_kept(store: SqlAgents) -> None:
    kept = agent("ä\u2028", sealed_key="v1|k", tags=("ü",), metadata={"n": [1.5, None, {"x": 2**63}]}, temperature=0.7)

    number = await store.add(kept)

    assert number == await store.number()
    assert await store.get(kept.id) == kept
    assert (await store.all()).agents[-1] == kept


async def test_each_write_raises_the_version(store: SqlAgents) -> None:
    kept = agent("a")

    numbers = [
        await store.number(),
        await store.add(kept),
        await store.change(kept.id, lambda now: now.changed({"weight": 2}, at=NOW)),
        await store.remove(kept.id),
    ]

    assert numbers == [1, 2, 3, 4]
    assert (await store.all()).number == 4


def refuse(_agent: Agent) -> Agent:
    raise StaleAgent


async def test_what_is_refused_does_not_raise_it(store: SqlAgents) -> None:
    kept, other = agent("a"), agent("b")
    await store.add(kept)
    number = await store.add(other)

    with pytest.raises(AgentNameTaken):
        await store.add(agent("c").changed({"name": " A "}, at=NOW))
    with pytest.raises(AgentNameTaken):
        await store.change(other.id, lambda now: now.changed({"name": "A"}, at=NOW))
    with pytest.raises(StaleAgent):
        await store.change(kept.id, refuse)
    with pytest.raises(AgentNotFound):
        await store.change(AgentId("nobody"), refuse)
    with pytest.raises(AgentNotFound):
        await store.remove(AgentId("nobody"))

    assert await store.number() == number


async def test_each_of_many_changes_at_once_is_made_of_what_the_one_before_has_left(store: SqlAgents) -> None:
    kept = agent("a")
    await store.add(kept)

    await asyncio.gather(
        *(store.change(kept.id, lambda now: now.changed({"weight": now.weight + 1}, at=NOW)) for _ in range(50))
    )

    after = await store.get(kept.id)
    assert after is not None
    assert (after.weight, after.version) == (51, 51)


async def test_nobody_is_nobody(store: SqlAgents) -> None:
    assert await store.get(AgentId("nobody")) is None


async def test_preparing_again_changes_nothing(store: SqlAgents, url: str) -> None:
    before = await store.all()

    await asyncio.gather(*(asyncio.to_thread(prepare, url) for _ in range(3)))

    assert [one.name for one in before.agents] == ["echo-1", "echo-2"]
    assert await store.all() == before
