"""Circuits that all replicas agree on: each tells what it has found, and adopts what is newer than what it knows."""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from orchestrator.application.monitor import Monitor
from orchestrator.domain.agent import Agent
from orchestrator.domain.circuit import Circuit
from shared.background import beside
from shared.bus import read, write
from shared.clock import unix_ms
from shared.contracts.orchestrator import CircuitsTold, CircuitTold

TELL_EVERY_S = 1.0
"""How often circuits that are not closed are told again, for replicas that have just started or were cut off."""
MAX_TOLD = 500

_log = logging.getLogger(__name__)


class _Known(NamedTuple):
    """Which state of a circuit is known. The number is a hybrid logical clock: later states have higher ones."""

    number: int
    teller: str


class SharedCircuits:
    """Tells the other replicas of this one's circuits, and this one of theirs. `publish` sends to all of them."""

    def __init__(
        self,
        monitor: Monitor,
        publish: Callable[[bytes], Awaitable[None]],
        *,
        instance: str,
        now_ms: Callable[[], int] = unix_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monitor = monitor
        self._publish = publish
        self._instance = instance
        self._now_ms = now_ms
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._news: set[str] = set()
        self._wake = asyncio.Event()
        monitor.on_circuit = self.changed

    def changed(self, agent: Agent) -> None:
        """This replica has found a circuit in another state: the others are told in the next turn of the loop."""
        known = self._known.get(agent.id)
        number = max(self._now_ms(), 0 if known is None else known.number + 1)
        self._known[agent.id] = _Known(number, self._instance)
        self._tell(agent.id)

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Tells the others while the block runs."""
        async with beside(self._repeat):
            yield

    async def hear(self, body: bytes) -> None:
        """Another replica tells of its circuits. To what is older than what is known here, that is answered."""
        told = read(CircuitsTold, body)
        if told.teller == self._instance:
            return
        for one in told.circuits:
            agent = self._monitor.agents.get(one.agent_id)
            if agent is None or one.connection != _mark(agent):
                continue  # registered or moved just now: it is told again
            known, theirs = self._known.get(agent.id), _Known(one.number, one.teller)
            if known is None or theirs > known:
                self._known[agent.id] = theirs
                self._monitor.adopt(agent, self._circuit(one))
            elif theirs < known:
                self._tell(agent.id)

    def _tell(self, id: str) -> None:
        self._news.add(id)
        self._wake.set()

    async def _repeat(self) -> None:
        again_s = self._clock()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(again_s - self._clock(), 0)):
                    await self._wake.wait()
            self._wake.clear()
            is_round = self._clock() >= again_s
            if is_round:
                again_s = self._clock() + TELL_EVERY_S
            try:
                await self._tell_those(self._due(is_round=is_round))
            except Exception:
                _log.exception("circuits_not_told")

    def _due(self, *, is_round: bool) -> list[CircuitTold]:
        """The news, and in each round what is not closed."""
        agents, news, self._news = self._monitor.agents, self._news, set()
        if is_round:
            self._known = {id: known for id, known in self._known.items() if id in agents}
            news |= {id for id in self._known if self._monitor.circuit(agents[id]).state != "closed"}
        return [self._told(agents[id], self._known[id]) for id in news if id in agents and id in self._known]

    async def _tell_those(self, told: list[CircuitTold]) -> None:
        for start in range(0, len(told), MAX_TOLD):
            message = CircuitsTold(teller=self._instance, circuits=told[start : start + MAX_TOLD])
            await self._publish(write(message))

    def _told(self, agent: Agent, known: _Known) -> CircuitTold:
        circuit = self._monitor.circuit(agent)
        return CircuitTold(
            agent_id=agent.id,
            connection=_mark(agent),
            number=known.number,
            teller=known.teller,
            state=circuit.state,
            on_trial=circuit.on_trial,
            failed_at_work=circuit.failed_at_work,
            rounds=circuit.rounds,
            seconds=max(circuit.until_s - self._clock(), 0.0),
        )

    def _circuit(self, told: CircuitTold) -> Circuit:
        now_s = self._clock()
        return Circuit(
            state=told.state,
            failed_at_work=told.failed_at_work,
            rounds=told.rounds,
            until_s=now_s + told.seconds,
            on_trial=told.on_trial,
            closed_at_s=now_s if told.state == "closed" else None,
        )


def _mark(agent: Agent) -> str:
    """Tells an agent's connections apart without telling them."""
    return hashlib.sha256(repr(agent.connection).encode()).hexdigest()[:16]
