"""`python -m orchestrator.prepare`: brings the database up to date, and on a first start adds two built-in agents."""

import asyncio

from orchestrator.domain.agent import Agent, AgentId
from orchestrator.infrastructure.sql_agents import SqlAgents
from shared.clock import utc_now
from shared.database import open_database
from shared.ids import new_id
from shared.migrations import migrate
from shared.settings import ServiceSettings, load

BUILT_IN = ("echo-1", "echo-2")


def prepare(url: str) -> None:
    """Migrates the database at `url` and seeds it, once: built-in agents that were deleted stay deleted."""
    migrate(url, "orchestrator")
    asyncio.run(_seed(url))


async def _seed(url: str) -> None:
    now = utc_now()
    agents = [
        Agent(
            id=AgentId(new_id()),
            name=name,
            type="echo",
            endpoint=None,
            model="echo",
            max_tokens=4096,
            temperature=0,
            priority=1,  # the first real agent gets all the work
            weight=10,
            created_at=now,
            updated_at=now,
        )
        for name in BUILT_IN
    ]
    async with open_database(url) as database:
        await SqlAgents(database).seed(agents, at=now)


if __name__ == "__main__":
    prepare(load(ServiceSettings).database_of("orchestrator"))
