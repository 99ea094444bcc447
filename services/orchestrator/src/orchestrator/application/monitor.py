"""The monitor: probes every agent, keeps its health, and tells when the choice among agents is another one."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.application.probe_slots import ProbeSlots, Turn
from orchestrator.application.registry import Snapshot
from orchestrator.application.upstreams import Upstream, UpstreamFailure
from orchestrator.domain.agent import Agent, AgentType
from orchestrator.domain.circuit import WARM_UP_S, WARM_UP_STEPS, Circuit
from orchestrator.domain.health import SLOWER_AFTER_SLOW, Health

PROBE_WITHIN_S = 5.0
SLOW_PROBE_S = 1.0
FIRST_CHECK_WITHIN_S = 1.0
NOT_PROBED = "Could not be probed: something is wrong with its settings or with this service."
OPENED_ELSEWHERE = "Failed three times in a row, as another replica has found."
FREE_PROBE_EVERY_S = 2.0
"""How often agents are probed whose probes cost nothing: who leaves the bus or comes to it is seen soon."""
TRIAL_OF_ANOTHER_S = 6.0
"""How long the replica that opened a circuit has for the probe that is its trial, before others begin their own."""

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
    is_adopted: bool = False
    """Whether its circuit is as another replica told."""
    seen_at_s: float = field(default_factory=time.monotonic)

    @property
    def health(self) -> Health:
        """How it fares, with the work it has done since it was judged last; counting that each time costs 6 µs."""
        if self.done:
            self.judged, self.done = replace(self.judged, request_count=self.judged.request_count + self.done), 0
        return self.judged


class Monitor:
    """The health of all agents, as this replica sees it.

    `generation` grows when another set of agents takes work. `on_trial` are those whose one trial is under way.
    `on_circuit` is called with each agent whose circuit this replica has opened, closed or has on trial; `on_status`
    with each that it sees in another status, and its health before and after.
    """

    def __init__(
        self,
        upstreams: Mapping[AgentType, Upstream],
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._upstreams = upstreams
        self._now = now
        self._clock = clock
        self._spread = spread
        self._watched: dict[str, _Watched] = {}
        self._unchecked: set[_Watched] = set()
        self._snapshot: Snapshot | None = None
        self._slots = ProbeSlots()
        self._ended = False
        self._warm_at_s: float | None = None
        self.generation = 0
        self.on_trial: set[str] = set()
        self.on_circuit: Callable[[Agent], None] = lambda _agent: None
        self.on_status: Callable[[Agent, Health, Health], None] = lambda _agent, _before, _after: None

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
                if watched.judged.in_maintenance is not agent.in_maintenance:
                    self._changed(watched, replace(watched.health, in_maintenance=agent.in_maintenance))
                continue
            if watched is not None:
                self._forget(watched)
            self._watched[agent.id] = fresh = _Watched(agent, Health(in_maintenance=agent.in_maintenance))
            self._unchecked.add(fresh)
            self._probe(fresh, Turn.FIRST)
        self.generation += 1

    def health(self, id: str) -> Health:
        """How an agent fares. It must be in the snapshot that is followed."""
        return self._watched[id].health

    def takes_work(self, agent: Agent) -> bool:
        """Whether the agent may be chosen."""
        return self._watched[agent.id].judged.takes_work

    def is_free(self, agent: Agent) -> bool:
        """The same, and its one trial is not under way."""
        return agent.id not in self.on_trial and self.takes_work(agent)

    def until_trial_s(self, agent: Agent) -> float | None:
        """In how many seconds the agent may be tried, when its circuit is not closed."""
        circuit = self._watched[agent.id].judged.circuit
        if circuit.state == "closed":
            return None
        return circuit.until_s - self._clock() if circuit.state == "open" else 0.0

    @property
    def agents(self) -> Mapping[str, Agent]:
        """Those that are watched, by id."""
        return {} if self._snapshot is None else self._snapshot.by_id

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

    def begins(self, agent: Agent) -> bool:
        """The agent is given work; whether this is the trial of a circuit that is half-open."""
        watched = self._watched[agent.id]
        if watched.judged.circuit.state != "half-open":
            return False
        self._judge_circuit(watched, watched.judged.circuit.tried(now_s=self._clock()))
        return True

    def ended_untold(self, agent: Agent) -> None:
        """The trial ended without showing anything, as when its caller left."""
        watched = self._of(agent)
        if watched is not None and watched.judged.circuit.on_trial:
            self._judge_circuit(watched, watched.judged.circuit.untried())

    def succeeded(self, agent: Agent) -> None:
        """The agent has done its work."""
        if watched := self._of(agent):
            if watched.judged.is_well:
                watched.done += 1
            else:
                self._judge(watched, watched.health.succeeded(now_s=self._clock()))

    def failed(self, agent: Agent, words: str, *, is_trial: bool = False) -> None:
        """The agent has not done its work: it is probed at once, unless it is given no more work for now."""
        if watched := self._of(agent):
            details = f"Failed at its last request: {words}."
            self._judge(watched, watched.health.failed(details, now_s=self._clock(), is_trial=is_trial))
            if watched.judged.circuit.state == "open":
                self._probe_later(watched)
            elif watched.probing is None:
                self._probe(watched, Turn.ROUTINE)

    def refused(self, agent: Agent, *, is_trial: bool = False) -> None:
        """The agent found fault with a request."""
        if watched := self._of(agent):
            self._judge(watched, watched.health.refused(now_s=self._clock(), is_trial=is_trial))

    def circuit(self, agent: Agent) -> Circuit:
        """The agent's circuit. It must be in the snapshot that is followed."""
        return self._watched[agent.id].judged.circuit

    def adopt(self, agent: Agent, circuit: Circuit) -> None:
        """The agent's circuit is what another replica has told."""
        watched = self._watched[agent.id]
        health = watched.health
        has_answered = health.has_answered or circuit.state != "open"
        details = "Answers." if circuit.state == "closed" else OPENED_ELSEWHERE
        watched.is_adopted = True
        self._changed(watched, replace(health, circuit=circuit, has_answered=has_answered, details=details))
        if watched.probing is None:
            self._probe_later(watched)

    def warmth(self, agent: Agent) -> int:
        """How many tenths of the agent's weight count now."""
        return self._watched[agent.id].judged.circuit.warmth(now_s=self._clock())

    @property
    def warming(self) -> int:
        """Another number whenever `warmth` may have become another one; 0 while it is full for all."""
        if self._warm_at_s is None:
            return 0
        now_s = self._clock()
        if now_s >= self._warm_at_s:
            self._warm_at_s = None
            return 0
        return int(now_s / WARM_UP_S * WARM_UP_STEPS) + 1

    def _of(self, agent: Agent) -> _Watched | None:
        watched = self._watched.get(agent.id)
        if watched is None or (watched.agent is not agent and watched.agent.connection != agent.connection):
            return None  # removed, or elsewhere by now
        return watched

    def _judge_circuit(self, watched: _Watched, circuit: Circuit) -> None:
        self._judge(watched, replace(watched.health, circuit=circuit))

    def _judge(self, watched: _Watched, health: Health) -> None:
        """What this replica has found itself."""
        before = watched.judged.circuit
        self._changed(watched, health)
        if _told_of(health.circuit) == _told_of(before):
            return
        watched.is_adopted = False
        self.on_circuit(watched.agent)
        named = {"agentId": watched.agent.id, "agentName": watched.agent.name}
        if before.state == "closed":
            _log.warning("circuit_opened", extra=named)
        elif health.circuit.state == "closed":
            _log.info("circuit_closed", extra=named)

    def _changed(self, watched: _Watched, health: Health) -> None:
        before, watched.judged = watched.judged, health
        circuit = health.circuit
        if health.status != before.status:
            self.on_status(watched.agent, before, health)
        if health.takes_work is not before.takes_work or circuit.state != before.circuit.state:
            self.generation += 1
        if circuit.on_trial:
            self.on_trial.add(watched.agent.id)
        else:
            self.on_trial.discard(watched.agent.id)
        if circuit.closed_at_s is not None and circuit.closed_at_s != before.circuit.closed_at_s:
            self._warm_at_s = max(self._warm_at_s or 0.0, circuit.closed_at_s + WARM_UP_S)

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
            return watched.health.probed_badly(words, at=self._now(), now_s=self._clock(), was_slow=was_slow)
        except Exception:
            if watched.health.details != NOT_PROBED:  # told once, not at each round
                _log.exception("probe_failed", extra={"agentId": agent.id})
            return watched.health.probed_badly(NOT_PROBED, at=self._now(), now_s=self._clock())
        latency_ms = round((time.perf_counter() - began) * 1000, 1)
        return watched.health.probed_well(words, latency_ms=latency_ms, at=self._now(), now_s=self._clock())

    def _probe_later(self, watched: _Watched) -> None:
        if self._watched.get(watched.agent.id) is not watched or self._ended:
            return
        if watched.timer is not None:
            watched.timer.cancel()
        pause_s = self._until_next(watched)
        watched.timer = asyncio.get_running_loop().call_later(pause_s, self._probe, watched, Turn.ROUTINE)

    def _until_next(self, watched: _Watched) -> float:
        health = watched.judged
        pause_s = health.pause_s(now_s=self._clock())
        if watched.agent.type == "bus":
            slower = SLOWER_AFTER_SLOW if health.was_slow else 1
            return min(pause_s, FREE_PROBE_EVERY_S * slower) * self._spread(0.9, 1.1)
        if health.circuit.state == "open":
            return pause_s + (self._spread(1.0, 1.3) * TRIAL_OF_ANOTHER_S if watched.is_adopted else 0)
        return pause_s * self._spread(0.9, 1.1)  # replicas and agents do not probe in step

    def _forget(self, watched: _Watched) -> None:
        self._unchecked.discard(watched)
        self.on_trial.discard(watched.agent.id)
        if watched.timer is not None:
            watched.timer.cancel()
        if watched.probing is not None:
            watched.probing.cancel()


def _told_of(circuit: Circuit) -> tuple[object, ...]:
    return (circuit.state, circuit.on_trial, circuit.rounds)
