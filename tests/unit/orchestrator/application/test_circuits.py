"""Replicas that tell each other of circuits, over a bus that the test holds."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from orchestrator.application.circuits import SharedCircuits
from orchestrator.application.monitor import OPENED_ELSEWHERE, Monitor
from orchestrator.domain.agent import Agent
from tests.unit.orchestrator.agents import NOW, FakeUpstream, agent, snapshot
from tests.waiting import until


@dataclass
class Wire:
    """Hands what one says to all the others, at once, unless they are cut off."""

    replicas: "dict[str, Replica]" = field(default_factory=dict)
    cut_off: set[str] = field(default_factory=set)
    said: list[bytes] = field(default_factory=list)

    async def publish(self, name: str, body: bytes) -> None:
        self.said.append(body)
        for other, replica in self.replicas.items():
            if not {name, other} & self.cut_off:
                await replica.circuits.hear(body)


@dataclass
class Replica:
    """A monitor and what it shares."""

    monitor: Monitor
    circuits: SharedCircuits

    def state(self, agent: Agent) -> str:
        return self.monitor.circuit(agent).state

    def fail(self, agent: Agent) -> None:
        for _ in range(3):
            self.monitor.failed(agent, "oops")


class World:
    """Replicas that follow the same agents."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.wire = Wire()
        self.upstream = FakeUpstream()
        self._stack = stack

    async def replica(self, name: str, *agents: Agent) -> Replica:
        monitor = Monitor({"openai": self.upstream}, now=lambda: NOW)

        async def publish(body: bytes) -> None:
            await self.wire.publish(name, body)

        circuits = SharedCircuits(monitor, publish, instance=name)
        replica = self.wire.replicas[name] = Replica(monitor, circuits)
        await self._stack.enter_async_context(monitor.watching())
        monitor.follow(snapshot(1, *agents))
        await monitor.first_checks()
        await self._stack.enter_async_context(circuits.telling())
        return replica


A = agent("a")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stack)


async def test_what_one_opens_and_closes_the_others_open_and_close(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.application.circuits.TELL_EVERY_S", 60)  # they are told without a round
    one, other = await world.replica("1", A), await world.replica("2", A)

    one.fail(A)
    await until(lambda: other.state(A) == "open")
    opened, details = other.monitor.circuit(A), other.monitor.health("a").details
    other.monitor.succeeded(A)
    await until(lambda: one.state(A) == "closed")

    assert (opened.rounds, opened.failed_at_work, details) == (1, True, OPENED_ELSEWHERE)
    assert (one.monitor.health("a").status, other.monitor.health("a").status) == ("online", "online")
    assert one.monitor.warmth(A) == other.monitor.warmth(A) == 1


async def test_who_has_just_started_or_was_cut_off_learns_what_is_open(world: World) -> None:
    one, cut_off = await world.replica("1", A), await world.replica("2", A)
    world.wire.cut_off.add("2")

    one.fail(A)
    fresh = await world.replica("3", A)
    await until(lambda: fresh.state(A) == "open")
    world.wire.cut_off.clear()

    await until(lambda: cut_off.state(A) == "open")


async def test_who_missed_that_a_circuit_was_closed_is_told(world: World) -> None:
    one, other = await world.replica("1", A), await world.replica("2", A)
    one.fail(A)
    await until(lambda: other.state(A) == "open")
    world.wire.cut_off.add("2")
    one.monitor.succeeded(A)
    await until(lambda: len(world.wire.said) > 1)
    world.wire.cut_off.clear()

    await until(lambda: other.state(A) == "closed")

    assert one.state(A) == "closed"


async def test_a_trial_here_is_none_elsewhere(world: World) -> None:
    one, other = await world.replica("1", A), await world.replica("2", A)
    one.fail(A)
    await until(lambda: other.state(A) == "open")
    opened = one.monitor.circuit(A)
    one.monitor.adopt(A, opened.probed_well(now_s=opened.until_s))

    is_trial = one.monitor.begins(A)
    await until(lambda: other.state(A) == "half-open")

    assert is_trial
    assert not other.monitor.is_free(A)
    assert other.monitor.on_trial == {"a"}


async def test_what_is_said_of_an_agent_elsewhere_or_unknown_counts_for_nothing(world: World) -> None:
    moved = A.changed({"endpoint": "https://example.com"}, at=NOW)
    one, other = await world.replica("1", A, agent("b")), await world.replica("2", moved)

    one.fail(A)
    one.fail(agent("b"))
    await until(lambda: len(world.wire.said) >= 1)

    assert other.state(moved) == "closed"


async def test_of_two_at_the_same_time_all_agree_on_one(world: World) -> None:
    one, other = await world.replica("1", A), await world.replica("2", A)

    one.fail(A)
    other.fail(A)
    await until(lambda: len(world.wire.said) >= 2)
    one.monitor.succeeded(A)

    await until(lambda: (one.state(A), other.state(A)) == ("closed", "closed"))


async def test_nothing_is_said_while_all_is_well(world: World) -> None:
    one = await world.replica("1", A)
    one.monitor.succeeded(A)
    one.monitor.failed(A, "oops")

    assert world.wire.said == []
