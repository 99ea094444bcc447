"""How many calls each agent works on in this replica, and the short queue of those that wait for one of them to end."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.domain.agent import Agent


@dataclass(slots=True)
class _Desk:
    """One agent's calls. Those in `queue` wait for this agent, and perhaps for others too."""

    limit: int
    busy: int = 0
    counted: int = 0
    """Those that wait here first of all; as many as the limit may."""
    queue: list["_Waiting"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Waiting:
    agents: Sequence[Agent]
    given: asyncio.Future[Agent]


class Concurrency:
    """Counts calls by agent. `full` are the agents that are at their limit."""

    def __init__(self) -> None:
        self._desks: dict[str, _Desk] = {}
        self.full: set[str] = set()

    def take(self, agent: Agent) -> None:
        """The agent has one more call."""
        desk = self._desk(agent)
        desk.limit = agent.max_concurrency  # may have been changed
        desk.busy += 1
        if desk.busy >= desk.limit:
            self.full.add(agent.id)

    def leave(self, agent: Agent) -> None:
        """One of the agent's calls has ended: its place goes to whoever waits for the longest time."""
        id, desk = agent.id, self._desks[agent.id]
        if desk.queue and desk.busy <= desk.limit and _handed_on(id, desk):
            return
        desk.busy -= 1
        if desk.busy < desk.limit:
            self.full.discard(id)
        self._tidy(id)

    async def wait(self, agents: Sequence[Agent], *, within_s: float) -> Agent | None:
        """The first of these full agents to have a place, which is then taken.

        None when there was none in time, and at once when each has as many waiting as it works on.
        """
        desks = [self._desk(agent) for agent in agents]
        first = min(desks, key=lambda desk: desk.counted / desk.limit)
        if first.counted >= first.limit:
            return None
        first.counted += 1
        waiting = _Waiting(agents, asyncio.get_running_loop().create_future())
        for desk in desks:
            desk.queue.append(waiting)
        try:
            async with asyncio.timeout(within_s):
                return await waiting.given
        except TimeoutError:
            return _given_late(waiting)
        except asyncio.CancelledError:
            late = _given_late(waiting)
            if late is not None:
                self.leave(late)
            raise
        finally:
            first.counted -= 1
            for agent, desk in zip(agents, desks, strict=True):
                if waiting in desk.queue:
                    desk.queue.remove(waiting)
                self._tidy(agent.id)

    def _tidy(self, id: str) -> None:
        desk = self._desks.get(id)
        if desk is not None and not desk.busy and not desk.queue:
            del self._desks[id]

    def _desk(self, agent: Agent) -> _Desk:
        desk = self._desks.get(agent.id)
        if desk is None:
            desk = self._desks[agent.id] = _Desk(agent.max_concurrency)
        return desk


def _given_late(waiting: _Waiting) -> Agent | None:
    """A place may have been given in the turn in which the wait ended."""
    given = waiting.given
    return given.result() if given.done() and not given.cancelled() else None


def _handed_on(id: str, desk: _Desk) -> bool:
    while desk.queue:
        waiting = desk.queue.pop(0)
        if not waiting.given.done():
            waiting.given.set_result(next(agent for agent in waiting.agents if agent.id == id))
            return True
    return False
