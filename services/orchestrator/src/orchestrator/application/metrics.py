"""Use cases of metrics: how an agent did in some time, and what every agent has done since ever."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from orchestrator.application.monitor import Monitor
from orchestrator.application.pool import Pool
from orchestrator.domain.agent import Agent, AgentNotFound
from orchestrator.domain.circuit import State
from orchestrator.domain.health import Status
from orchestrator.domain.metrics import MINUTES_PER_DAY, WINDOWS, Sums, added_up
from shared.bus import CallContext
from shared.principal import Role


class MetricStore(Protocol):
    """Where the sums of all replicas are kept. All methods raise DatabaseUnavailable."""

    async def series(self, agent_id: str, steps: range) -> list[Sums]:
        """An agent's sums in each of the steps, which begin in these minutes; in whole hours when it is long ago."""
        ...

    async def of_day(self, agent_id: str, day: int) -> Sums:
        """An agent's sums of a day of UTC, counted since the Unix epoch."""
        ...

    async def since_ever(self) -> dict[str, Sums]:
        """What every agent has done that ever was given work and is not forgotten, but first tokens. It never falls."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """How an agent did: in each of the steps, which begin in these minutes; in all of them; and today, in UTC."""

    agent_id: str
    steps: range
    series: list[Sums]
    whole: Sums
    today: Sums


@dataclass(frozen=True, slots=True)
class Total:
    """What an agent has done since ever, and how it is now."""

    agent: Agent
    status: Status
    circuit: State
    sums: Sums


class Metrics:
    """The use cases. What is told is at most a second or two behind."""

    def __init__(self, store: MetricStore, pool: Pool, monitor: Monitor, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._pool = pool
        self._monitor = monitor
        self._now = now

    async def of(self, agent_id: str, window: str, context: CallContext) -> Measured:
        """How an agent did in one of WINDOWS until now; raises AgentNotFound."""
        context.principal.must_be(Role.VIEWER)
        if agent_id not in (await self._pool.current()).by_id:
            raise AgentNotFound(agent_id)
        minute = int(self._now().timestamp()) // 60
        steps = WINDOWS[window].steps(minute)
        series = await self._store.series(agent_id, steps)
        today = await self._store.of_day(agent_id, minute // MINUTES_PER_DAY)
        return Measured(agent_id, steps, series, added_up(series), today)

    async def totals(self, context: CallContext) -> list[Total]:
        """What each agent of the pool has done."""
        context.principal.must_be(Role.VIEWER)
        sums = await self._store.since_ever()
        agents = (await self._pool.current()).agents
        return [
            Total(
                agent,
                self._monitor.health(agent.id).status,
                self._monitor.circuit(agent).state,
                sums.get(agent.id) or Sums(),
            )
            for agent in agents
        ]
