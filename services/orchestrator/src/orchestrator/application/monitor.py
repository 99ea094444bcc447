"""The monitor: probes every agent, keeps its health, and tells when the choice among agents is another one."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.application.probe_slots import ProbeSlots, Turn
from orchestrator.application.registry import Snapshot
from orchestrator.application.upstreams import Upstream, UpstreamFailure
from orchestrator.domain.agent import Agent, AgentType
from orchestrator.domain.health import Health

PROBE_WITHIN_S = 5.0
SLOW_PROBE_S = 1.0
FIRST_CHECK_WITHIN_S = 1.0
NOT_PROBED = "Could not be probed: something is wrong with its settings or with this service."
PROBE_EVERY_S = 30.0

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Watched:
    """An agent under watch. A changed connection is watched anew, so that late results of the old one fall nowhere."""

    agent: Agent
    judged: Health = field(default_factory=Health)
    done: int = 0
    probing: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    waits_for_slot: bool = False
    seen_at_s: float = field(default_factory=time.monotonic)

    @property
    def health(self) -> Health:
        """How it fares, with the work it has done since it was judged last; counting that each time costs 6 µs."""
        if self.done:
            self.judged, self.done = self.judged.succeeded(self.done), 0
        return self.judged


class Monitor:
    """The health of all agents, as this replica sees it.

    `generation` grows when another set of agents takes work.
    """

    def __init__(
        self,
        upstreams: Mapping[AgentType, Upstream],
        *,
        now: Callable[[], datetime],
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._upstreams = upstreams
        self._now = now
        self._spread = spread
        self._watched: dict[str, _Watched] = {}
        self._unchecked: set[_Watched] = set()
        self._snapshot: Snapshot | None = None
        self._slots = ProbeSlots()
        self._ended = False
        self.generation = 0

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Ends all probes at the end of the block."""
        try:
            yield
        finally:
            self._ended = True
            tasks = [watched.probing for watched in self._watched.values() if watched.probing is not None]
            for watched in self._watched.values():
                self._forget(watched)
            await asyncio.gather(*tasks, return_exceptions=True)

    def follow(self, snapshot: Snapshot) -> None:
        """Watches the agents of this snapshot from now on, and probes those that are new or elsewhere than before."""
        if snapshot is self._snapshot:
            return
        self._snapshot = snapshot
        for id in self._watched.keys() - snapshot.by_id.keys():
            self._forget(self._watched.pop(id))
        for agent in snapshot.agents:
            watched = self._watched.get(agent.id)
            if watched is not None and watched.agent.connection == agent.connection:
                watched.agent = agent
                continue
            if watched is not None:
                self._forget(watched)
            self._watched[agent.id] = fresh = _Watched(agent)
            self._unchecked.add(fresh)
            self._probe(fresh, Turn.FIRST)
        self.generation += 1

    def health(self, id: str) -> Health:
        """How an agent fares. It must be in the snapshot that is followed."""
        return self._watched[id].health

    def takes_work(self, agent: Agent) -> bool:
        """Whether the agent may be chosen."""
        return self._watched[agent.id].judged.takes_work

    @property
    def has_unchecked(self) -> bool:
        """Whether the first probe of any agent is under way."""
        return bool(self._unchecked)

    @property
    def unchecked(self) -> list[Agent]:
        """Those whose first probe is under way."""
        return [watched.agent for watched in self._unchecked]

    async def first_checks(self, *ids: str) -> bool:
        """Waits for the first probes of these agents, or of all. Whether there was anything to wait for.

        An agent that hangs is waited for once, for at most FIRST_CHECK_WITHIN_S after it was seen first.
        """
        if not self._unchecked:
            return False
        return await self._first_checks(ids or tuple(self._watched), FIRST_CHECK_WITHIN_S, asyncio.ALL_COMPLETED)

    async def a_first_check(self, ids: Iterable[str], *, within_s: float) -> bool:
        """The same until the first of these agents has been probed, for at most so long after it was seen first."""
        return await self._first_checks(ids, within_s, asyncio.FIRST_COMPLETED)

    async def _first_checks(self, ids: Iterable[str], within_s: float, until: str) -> bool:
        oldest_s = time.monotonic() - within_s
        wanted = {self._watched[id] for id in ids if id in self._watched}
        awaited = [watched for watched in wanted & self._unchecked if watched.seen_at_s > oldest_s]
        if not awaited:
            return False
        patience_s = max(watched.seen_at_s for watched in awaited) - oldest_s
        probes = [self._probe(watched, Turn.FIRST) for watched in awaited]
        await asyncio.wait(probes, timeout=patience_s, return_when=until)
        return True

    async def check(self, id: str) -> Health:
        """Probes an agent now, together with all who want that at the same time."""
        watched = self._watched[id]
        await asyncio.wait([self._probe(watched, Turn.ASKED_FOR)])
        return watched.health

    def succeeded(self, agent: Agent) -> None:
        """The agent has done its work."""
        if watched := self._of(agent):
            if watched.judged.is_well:
                watched.done += 1
            else:
                self._judge(watched, watched.health.succeeded())

    def failed(self, agent: Agent, words: str) -> None:
        """The agent has not done its work: it is probed at once."""
        if watched := self._of(agent):
            self._judge(watched, watched.health.failed(f"Failed at its last request: {words}.", now_s=time.monotonic()))
            if watched.probing is None:
                self._probe(watched, Turn.ROUTINE)

    def refused(self, agent: Agent) -> None:
        """The agent found fault with a request."""
        if watched := self._of(agent):
            self._judge(watched, watched.health.refused())

    def _of(self, agent: Agent) -> _Watched | None:
        watched = self._watched.get(agent.id)
        if watched is None or (watched.agent is not agent and watched.agent.connection != agent.connection):
            return None  # removed, or elsewhere by now
        return watched

    def _judge(self, watched: _Watched, health: Health) -> None:
        if health.takes_work is not watched.judged.takes_work:
            self.generation += 1
        watched.judged = health

    def _probe(self, watched: _Watched, turn: Turn) -> asyncio.Task[None]:
        if watched.probing is not None and watched.waits_for_slot and turn is Turn.ASKED_FOR:
            watched.probing.cancel()  # somebody waits for it: it does not stand in the queue of those nobody waits for
            watched.probing = None
        if watched.probing is None:
            if watched.timer is not None:
                watched.timer.cancel()
            watched.waits_for_slot = turn is not Turn.ASKED_FOR
            watched.probing = asyncio.create_task(self._probe_once(watched, turn))
        return watched.probing

    async def _probe_once(self, watched: _Watched, turn: Turn) -> None:
        agent = watched.agent
        try:
            async with self._slots.taken(turn, agent.host):
                watched.waits_for_slot = False
                self._judge(watched, await self._probed(watched))
        finally:
            if watched.probing is asyncio.current_task():
                watched.probing = None
                self._unchecked.discard(watched)
                self._probe_later(watched)

    async def _probed(self, watched: _Watched) -> Health:
        agent, began = watched.agent, time.perf_counter()
        try:
            words = await self._upstreams[agent.type].probe(agent, within_s=PROBE_WITHIN_S)
        except UpstreamFailure as failure:
            words = f"Does not answer a probe: {failure.words}."
            was_slow = time.perf_counter() - began >= SLOW_PROBE_S  # whatever it waited for: name, connection, answer
            return watched.health.probed_badly(words, at=self._now(), was_slow=was_slow)
        except Exception:
            if watched.health.details != NOT_PROBED:  # told once, not at each round
                _log.exception("probe_failed", extra={"agentId": agent.id})
            return watched.health.probed_badly(NOT_PROBED, at=self._now())
        latency_ms = round((time.perf_counter() - began) * 1000, 1)
        return watched.health.probed_well(words, latency_ms=latency_ms, at=self._now(), now_s=time.monotonic())

    def _probe_later(self, watched: _Watched) -> None:
        if self._watched.get(watched.agent.id) is watched and not self._ended:
            watched.timer = asyncio.get_running_loop().call_later(
                self._until_next(watched.health), self._probe, watched, Turn.ROUTINE
            )

    def _until_next(self, health: Health) -> float:
        if health.status == "online":
            return PROBE_EVERY_S * self._spread(0.9, 1.1)  # replicas and agents do not probe in step
        return health.pause_s

    def _forget(self, watched: _Watched) -> None:
        self._unchecked.discard(watched)
        if watched.timer is not None:
            watched.timer.cancel()
        if watched.probing is not None:
            watched.probing.cancel()
