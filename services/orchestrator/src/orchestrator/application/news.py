"""News: what becomes of agents, told to whoever watches at that moment. Nothing waits for it or depends on it."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from orchestrator.domain.agent import Agent
from orchestrator.domain.health import Health
from shared.background import beside
from shared.bus import Message, write
from shared.contracts.events import (
    AGENT_CHANGED,
    AGENT_HEALTH_CHANGED,
    AgentChange,
    AgentChanged,
    AgentHealthChanged,
    Event,
)

MAX_UNTOLD = 1000
"""News that wait while the bus is away; the oldest are dropped beyond that."""

_log = logging.getLogger(__name__)


class News:
    """Publishes events in the order in which they happened, in the next turn of the loop."""

    def __init__(self, publish: Callable[[str, bytes], Awaitable[None]], *, now: Callable[[], datetime]) -> None:
        self._publish = publish
        self._now = now
        self._untold: deque[tuple[Event[Any], Message]] = deque(maxlen=MAX_UNTOLD)
        self._wake = asyncio.Event()

    def health_changed(self, agent: Agent, before: Health, after: Health) -> None:
        """This replica sees the agent fare otherwise than before."""
        message = AgentHealthChanged(
            timestamp=self._now(),
            agent_id=agent.id,
            agent_name=agent.name,
            status=after.status,
            previous_status=before.status,
            details=after.details,
        )
        self._tell(AGENT_HEALTH_CHANGED, message)

    def agent_changed(self, agent: Agent, change: AgentChange) -> None:
        """This replica has changed the pool."""
        message = AgentChanged(timestamp=self._now(), agent_id=agent.id, agent_name=agent.name, change=change)
        self._tell(AGENT_CHANGED, message)

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Publishes while the block runs."""
        async with beside(self._repeat):
            yield

    def _tell(self, event: Event[Any], message: Message) -> None:
        self._untold.append((event, message))
        self._wake.set()

    async def _repeat(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._untold:
                event, message = self._untold.popleft()
                try:
                    await self._publish(event.subject, write(message))
                except Exception:
                    _log.exception("news_not_told")
