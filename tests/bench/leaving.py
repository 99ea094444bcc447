"""How soon an agent is left whose client has left: from the client's close to the end of the agent's connection.

Clients and agent are in one process, which reads both times off one clock.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.bench.generator import distribution
from tests.bench.linux import MachineTime
from tests.bench.rows import dispatch_request
from tests.bench.system import System, running_system
from tests.bench.upstream import Provider
from tests.bench.upstream_streams import asks_for_stream, stream_opening, token_chunk

CROWDS = (1, 64)
"""How many leave at once."""
_GIVE_UP_AFTER_S = 10.0
_CLIENT = re.compile(rb"This is client (\d+)\.")
_WANTS_A_TOKEN = "Begin."


class Moment(StrEnum):
    """When a client leaves."""

    UNSTREAMED = "an unstreamed dispatch"
    BEFORE_TOKEN = "a stream before its first token"
    AFTER_TOKEN = "a stream after its first token"


@dataclass(frozen=True, slots=True)
class Leaving:
    """Times by when and how many left at once, and what the audit log says of them."""

    times_ms: Mapping[tuple[Moment, int], Mapping[str, float]]
    """Keys as in `Measured.latency_ms`."""
    left: int
    """Clients who left while an agent worked for them."""
    noticed: int
    """How many of them the agent was left for."""
    recorded: int
    """Entries of such dispatches in the audit log."""
    stolen_percent: float
    """What the hypervisor withheld of the machine meanwhile."""

    @property
    def complete(self) -> bool:
        """Whether the agent was left for all of them, and each is recorded once."""
        return self.left == self.noticed == self.recorded

    def to_json(self) -> dict[str, object]:
        times = [
            {"moment": moment.name.lower(), "at_once": crowd, **times_ms}
            for (moment, crowd), times_ms in self.times_ms.items()
        ]
        return {
            "times_ms": times,
            "left": self.left,
            "noticed": self.noticed,
            "recorded": self.recorded,
            "complete": self.complete,
            "stolen_percent": self.stolen_percent,
        }


def leaving(data_dir: Path, *, rounds: int) -> Leaving:
    """Have each crowd leave as often, and one client alone as often as all of the largest, at a system of its own."""
    return asyncio.run(_leaving(data_dir, {crowd: rounds * CROWDS[-1] // crowd for crowd in CROWDS}))


async def _leaving(data_dir: Path, rounds: Mapping[int, int]) -> Leaving:
    times_s: dict[tuple[Moment, int], list[float]] = {}
    async with _slow_agent() as agent:
        with ExitStack() as stack:
            starting = running_system(data_dir, upstream_port=agent.port)
            system = await asyncio.to_thread(stack.enter_context, starting)
            await asyncio.to_thread(system.register_agents)
            every = [(moment, crowd) for moment in Moment for crowd in CROWDS]
            warming_up = [len(await _round(system, agent, moment, crowd)) for moment, crowd in every]
            machine = MachineTime.read()
            for moment, crowd in every:
                times = [await _round(system, agent, moment, crowd) for _ in range(rounds[crowd])]
                times_s[moment, crowd] = [each for times_of_round in times for each in times_of_round]
            machine = MachineTime.read().since(machine)
            left = sum(crowd * rounds[crowd] for _, crowd in every)
            recorded = await _recorded(system, sum(warming_up) + left) - sum(warming_up)
    return Leaving(
        times_ms={which: distribution(times) for which, times in times_s.items()},
        left=left,
        noticed=sum(map(len, times_s.values())),
        recorded=recorded,
        stolen_percent=100 * machine.stolen / machine.total,
    )


@dataclass
class _Agent:
    """Works for its clients for ever; their connections by client, and when they ended."""

    port: int = 0
    begun: set[int] = field(default_factory=set)
    ended: dict[int, float] = field(default_factory=dict)


class _Holding(Provider):
    def __init__(self, agent: _Agent) -> None:
        super().__init__(set())
        self._agent = agent
        self._client: int | None = None

    def answer(self, request: bytes) -> None:
        client = _CLIENT.search(request)
        if client is None:
            super().answer(request)  # a probe
            return
        self._client = int(client[1])
        if asks_for_stream(request):
            wants_token = _WANTS_A_TOKEN.encode() in request
            self._transport.write(stream_opening() + (token_chunk(0, time.monotonic_ns()) if wants_token else b""))
        self._agent.begun.add(self._client)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._client is not None:
            self._agent.ended[self._client] = time.perf_counter()


@asynccontextmanager
async def _slow_agent() -> AsyncIterator[_Agent]:
    agent = _Agent()
    server = await asyncio.get_running_loop().create_server(lambda: _Holding(agent), "127.0.0.1", 0, backlog=1024)
    agent.port = server.sockets[0].getsockname()[1]
    try:
        yield agent
    finally:
        server.close()


async def _round(system: System, agent: _Agent, moment: Moment, crowd: int) -> Sequence[float]:
    """The seconds until the agent was left for each of them, without those for whom it never was."""
    agent.begun.clear()
    agent.ended.clear()
    streams = [await asyncio.open_connection("127.0.0.1", system.port) for _ in range(crowd)]
    for client, (_, writer) in enumerate(streams):
        writer.write(_request(system, moment, client))
    await _wait_for(agent.begun, crowd)
    if moment is Moment.AFTER_TOKEN:
        async with asyncio.timeout(_GIVE_UP_AFTER_S):
            for reader, _ in streams:
                await reader.readuntil(b"event: token")
    closed = []
    for _, writer in streams:
        closed.append(time.perf_counter())
        writer.close()
    await _wait_for(agent.ended, crowd)
    return [agent.ended[client] - closed[client] for client in agent.ended]


def _request(system: System, moment: Moment, client: int) -> bytes:
    message = f"This is client {client}. {_WANTS_A_TOKEN if moment is Moment.AFTER_TOKEN else ''}".strip()
    return dispatch_request(system, system.api_key, message=message, stream=moment is not Moment.UNSTREAMED)


async def _wait_for(clients: set[int] | dict[int, float], count: int) -> None:
    until = time.perf_counter() + _GIVE_UP_AFTER_S
    while len(clients) < count and time.perf_counter() < until:  # noqa: ASYNC110  # protocols know no events
        await asyncio.sleep(0.001)


async def _recorded(system: System, expected: int) -> int:
    """The entries that there are, when those that are expected have had time to come."""
    until = time.perf_counter() + _GIVE_UP_AFTER_S
    while True:
        recorded = await asyncio.to_thread(system.recorded, "unknown")
        if recorded >= expected or time.perf_counter() > until:
            return recorded
        await asyncio.sleep(0.1)
