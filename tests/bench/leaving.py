"""How soon an agent is left whose client has left: from the client's close to the end of the agent's connection.

Clients and agent are in one process, which reads both times off one clock.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.generator import distribution
from tests.bench.linux import MachineTime
from tests.bench.rows import dispatch_request
from tests.bench.system import System, running_system
from tests.bench.upstream import Provider

CROWDS = (1, 64)
"""How many leave at once."""
_GIVE_UP_AFTER_S = 10.0
_CLIENT = re.compile(rb"This is client (\d+)\.")


@dataclass(frozen=True, slots=True)
class Leaving:
    """Times by how many left at once, and what the audit log says of them."""

    times_ms: Mapping[int, Mapping[str, float]]
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


def leaving(data_dir: Path, *, rounds: int) -> Leaving:
    """Have each crowd leave as often, and one client alone as often as all of the largest, at a system of its own."""
    return asyncio.run(_leaving(data_dir, {crowd: rounds * CROWDS[-1] // crowd for crowd in CROWDS}))


async def _leaving(data_dir: Path, rounds: Mapping[int, int]) -> Leaving:
    async with _slow_agent() as agent:
        with ExitStack() as stack:
            starting = running_system(data_dir, upstream_port=agent.port)
            system = await asyncio.to_thread(stack.enter_context, starting)
            await asyncio.to_thread(system.register_agents)
            warming_up = [len(await _round(system, agent, crowd)) for crowd in CROWDS]
            machine = MachineTime.read()
            times_s = {
                crowd: [each for _ in range(rounds[crowd]) for each in await _round(system, agent, crowd)]
                for crowd in CROWDS
            }
            machine = MachineTime.read().since(machine)
            left = sum(crowd * rounds[crowd] for crowd in CROWDS)
            recorded = await _recorded(system, sum(warming_up) + left) - sum(warming_up)
    return Leaving(
        times_ms={crowd: distribution(times) for crowd, times in times_s.items()},
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
        self._agent = agent
        self._client: int | None = None

    def answer(self, request: bytes) -> None:
        client = _CLIENT.search(request)
        if client is None:
            super().answer(request)  # a probe
        else:
            self._client = int(client[1])
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


async def _round(system: System, agent: _Agent, crowd: int) -> Sequence[float]:
    """The seconds until the agent was left for each of them, without those for whom it never was."""
    agent.begun.clear()
    agent.ended.clear()
    writers = []
    for client in range(crowd):
        _, writer = await asyncio.open_connection("127.0.0.1", system.port)
        writer.write(dispatch_request(system, system.api_key, message=f"This is client {client}."))
        writers.append(writer)
    await _wait_for(agent.begun, crowd)
    closed = []
    for writer in writers:
        closed.append(time.perf_counter())
        writer.close()
    await _wait_for(agent.ended, crowd)
    return [agent.ended[client] - closed[client] for client in agent.ended]


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
