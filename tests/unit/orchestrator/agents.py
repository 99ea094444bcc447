"""Agents, and an upstream whose answers the tests choose."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.application.registry import Snapshot
from orchestrator.application.upstreams import Take, UpstreamFailure
from orchestrator.domain.agent import Agent, AgentId
from orchestrator.domain.chat import Chat, Completion, Embeddings, Inputs

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def agent(name: str, **fields: Any) -> Agent:
    plain = Agent(
        id=AgentId(name),
        name=name,
        type="openai",
        endpoint="https://example.org",
        model="m",
        max_tokens=1,
        temperature=0,
        priority=5,
        weight=1,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(plain, **fields)


def snapshot(number: int, *agents: Agent) -> Snapshot:
    return Snapshot(number, agents)


@dataclass
class FakeUpstream:
    """Probes of the agents named in `down` fail, those of `slow` wait until `go`; those of `broken` break."""

    down: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    probed: list[str] = field(default_factory=list)

    async def probe(self, agent: Agent, *, within_s: float) -> str:
        self.probed.append(agent.name)
        if agent.name in self.slow:
            await self.go.wait()
        if agent.name in self.down:
            raise UpstreamFailure("it is down")
        if agent.name in self.broken:
            raise ValueError("failed to parse header value")
        return "Answers."

    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        return Completion("", 0, 0)

    async def stream(self, agent: Agent, chat: Chat, take: Take, *, within_s: float, silence_s: float) -> Completion:
        return Completion("", 0, 0)

    async def embed(self, agent: Agent, inputs: Inputs, *, within_s: float) -> Embeddings:
        return Embeddings([], 0)
