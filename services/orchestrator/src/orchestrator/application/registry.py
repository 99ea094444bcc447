"""The registry: all agents in memory, never older than the database says they are."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from orchestrator.domain.agent import Agent, AgentId


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All agents as of one version of the registry, in the order they were registered."""

    number: int
    agents: tuple[Agent, ...]
    by_id: Mapping[str, Agent] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", MappingProxyType({agent.id: agent for agent in self.agents}))


class AgentStore(Protocol):
    """Where agents are kept. Each write raises the registry's version and returns it."""

    async def number(self) -> int:
        """The registry's version."""
        ...

    async def all(self) -> Snapshot:
        """Every agent, as of one moment."""
        ...

    async def get(self, id: AgentId) -> Agent | None:
        """One agent, or None."""
        ...

    async def add(self, agent: Agent) -> int:
        """Keeps a new agent; raises AgentNameTaken."""
        ...

    async def change(self, id: AgentId, change: Callable[[Agent], Agent]) -> int:
        """Keeps what `change` makes of the agent as it is then: nobody else changes it in between.

        Raises AgentNotFound, AgentNameTaken, and what `change` raises.
        """
        ...

    async def remove(self, id: AgentId) -> int:
        """Forgets an agent; raises AgentNotFound."""
        ...


class VersionWatcher(Protocol):
    """Knows which version of the registry is the newest."""

    @property
    def number(self) -> int:
        """The newest version that is known."""
        ...

    async def be_current(self) -> None:
        """Returns when `number` may be believed; raises Unavailable when nobody can say."""
        ...


class Registry:
    """Answers from memory when what is remembered is of the newest version, and reads it again when it is not."""

    def __init__(self, store: AgentStore, versions: VersionWatcher) -> None:
        self._store = store
        self._versions = versions
        self._snapshot = Snapshot(-1, ())
        self._written = -1
        self._reading: asyncio.Task[None] | None = None

    def wrote(self, number: int) -> None:
        """This replica has raised the version to `number`; it need not be told."""
        self._written = max(self._written, number)

    async def current(self) -> Snapshot:
        """The agents as they are now."""
        await self._versions.be_current()
        while self._snapshot.number < max(self._versions.number, self._written):
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read())
                # Each waiter is told; reading it here keeps asyncio from saying that nobody was.
                self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.shield(self._reading)
        return self._snapshot

    async def _read(self) -> None:
        self._snapshot = await self._store.all()
