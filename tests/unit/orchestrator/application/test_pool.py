"""The pool: the registry as it is now, and the choice among those who fit."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from orchestrator.application import pool as pools
from orchestrator.application.monitor import Monitor
from orchestrator.application.pool import AgentInMaintenance, AgentsBusy, NoHealthyAgents, Pool
from orchestrator.application.registry import AgentStore, Registry, Snapshot
from orchestrator.domain.agent import Agent, AgentNotFound
from orchestrator.domain.circuit import WARM_UP_S
from shared.errors import InvalidFields
from tests.unit.orchestrator.agents import NOW, FakeUpstream, agent, snapshot
from tests.waiting import until


class Clock:
    """A monotonic clock that the test turns."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def echo(name: str) -> Agent:
    return agent(name, type="echo", endpoint=None)


class Versions:
    number = 1

    async def be_current(self) -> None:
        await asyncio.sleep(0)


class Store:
    """Only what the registry needs of one."""

    def __init__(self, *agents: Agent) -> None:
        self.snapshot = snapshot(1, *agents)
        self.reads = 0

    async def all(self) -> Snapshot:
        self.reads += 1
        await asyncio.sleep(0)
        return self.snapshot


@dataclass
class World:
    """A pool and what is under it."""

    store: Store
    versions: Versions
    registry: Registry
    upstream: FakeUpstream
    monitor: Monitor
    pool: Pool
    clock: Clock

    def change(self, *agents: Agent) -> None:
        self.versions.number += 1
        self.store.snapshot = snapshot(self.versions.number, *agents)

    async def picks(self, count: int, model: str | None = None, tags: tuple[str, ...] = ()) -> str:
        return "".join([await self.pick(None, model, tags) for _ in range(count)])

    async def pick(self, id: str | None, model: str | None = None, tags: tuple[str, ...] = ()) -> str:
        work = await self.pool.give(id, model, tags)
        work.end()
        return work.agent.name


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store, versions, upstream = Store(), Versions(), FakeUpstream()
    registry = Registry(store_of(store), versions)
    clock = Clock()
    monitor = Monitor({"openai": upstream, "echo": upstream}, now=lambda: NOW, clock=clock)
    async with monitor.watching():
        yield World(store, versions, registry, upstream, monitor, Pool(registry, monitor), clock)


def store_of(store: Store) -> AgentStore:
    return store  # type: ignore[return-value]  # the rest of the port is not used here


async def test_the_registry_is_read_once_for_all_who_ask_and_again_after_a_change(world: World) -> None:
    world.store.snapshot = snapshot(1, agent("a"))

    await asyncio.gather(*(world.registry.current() for _ in range(10)))
    before = world.store.reads
    world.change(agent("b"))
    after = await world.registry.current()

    assert (before, world.store.reads) == (1, 2)
    assert after.by_id.keys() == {"b"}


async def test_a_replica_sees_its_own_change_without_being_told(world: World) -> None:
    await world.registry.current()
    world.store.snapshot = snapshot(2, agent("a"))

    world.registry.wrote(2)

    assert (await world.registry.current()).by_id.keys() == {"a"}


async def test_only_the_highest_priority_is_chosen_and_the_next_when_that_is_offline(world: World) -> None:
    world.upstream.down.add("a")
    world.change(agent("a", priority=9), agent("b", priority=5), agent("c", priority=5), agent("d", priority=1))

    assert await world.picks(4) == "bcbc"


async def test_models_and_tags_narrow_the_choice(world: World) -> None:
    world.change(agent("a", model="x", tags=("t", "u")), agent("b", tags=("t",)), agent("c", model="x"))

    assert await world.picks(3, "x") == "aca"
    assert await world.picks(3, None, ("t",)) == "aba"
    assert await world.picks(2, "x", ("u", "t", "u")) == "aa"
    with pytest.raises(NoHealthyAgents):
        await world.picks(1, "y")


async def test_each_wish_has_an_order_of_its_own(world: World) -> None:
    world.change(agent("a", tags=("t",)), agent("b", tags=("t",)))

    assert await world.picks(1) + await world.picks(1, None, ("t",)) + await world.picks(1) == "aab"


async def test_who_goes_offline_is_not_chosen_any_more(world: World) -> None:
    a, b = agent("a"), agent("b")
    world.change(a, b)
    assert await world.picks(2) == "ab"
    world.upstream.down.add("a")

    for _ in range(3):
        await world.monitor.check("a")

    assert await world.picks(3) == "bbb"


@pytest.mark.parametrize("weights", [(5, 1, 1), (3, 2, 1), (1, 1, 1), (10, 7, 3)])
@pytest.mark.parametrize("picked_before", [0, 1, 2, 5])
async def test_shares_of_a_whole_round_are_exact_after_any_of_them_has_failed_and_come_back(
    world: World, weights: tuple[int, ...], picked_before: int
) -> None:
    agents = [agent(name, weight=weight) for name, weight in zip("abc", weights, strict=True)]
    world.change(*agents)
    for one in agents:
        await world.picks(picked_before)
        world.upstream.down.add(one.name)
        for _ in range(3):
            world.monitor.failed(one, "oops")
        others = {each.name: each.weight for each in agents if each is not one}

        while_it_is_out = await world.picks(sum(others.values()))
        world.upstream.down.clear()
        world.monitor.succeeded(one)
        world.clock.now_s += WARM_UP_S + 1
        whole_again = await world.picks(sum(weights))

        assert Counter(while_it_is_out) == others
        assert Counter(whole_again) == dict(zip("abc", weights, strict=True))


async def test_new_weights_count_at_once(world: World) -> None:
    a, b = agent("a"), agent("b")
    world.change(a, b)
    await world.picks(2)

    world.change(a.changed({"weight": 3}, at=NOW), b)

    assert sorted(await world.picks(4)) == ["a", "a", "a", "b"]


async def test_the_order_that_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MAX_WISHES", 3)
    tags = tuple(f"t{number}" for number in range(6))
    world.change(agent("a", tags=tags))

    for tag in tags:
        await world.picks(1, None, (tag,))

    assert len(world.pool._orders) <= 3


async def test_a_named_agent_is_chosen_whatever_its_priority(world: World) -> None:
    world.upstream.down.add("c")
    world.change(agent("a", priority=9), agent("b", priority=1), agent("c"))

    assert await world.pick("b", "m") == "b"
    with pytest.raises(AgentNotFound):
        await world.pick("d")
    with pytest.raises(InvalidFields):
        await world.pick("b", "other")
    with pytest.raises(NoHealthyAgents, match="Agent c is offline"):
        await world.pick("c")


async def test_nobody_is_said_in_words(world: World) -> None:
    with pytest.raises(NoHealthyAgents, match=r"No agent is registered\."):
        await world.picks(1)
    world.upstream.down.add("a")
    world.change(agent("a"))
    with pytest.raises(NoHealthyAgents, match="None of the 1 agents that fit is online"):
        await world.picks(1)
    with pytest.raises(NoHealthyAgents, match="for this model and these tags"):
        await world.picks(1, "gpt")


async def test_agents_that_are_removed_while_the_first_checks_run_are_no_trouble(world: World) -> None:
    world.upstream.slow.add("a")
    world.change(agent("a"), agent("b"))
    choosing = asyncio.create_task(world.pick("a"))
    await until(lambda: "a" in world.upstream.probed)

    world.change(agent("b"))
    await world.pool.current()

    with pytest.raises(AgentNotFound):
        await choosing


async def test_new_agents_that_hang_hold_up_nobody_who_has_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "BETTER_WITHIN_S", 600)
    monkeypatch.setattr("orchestrator.application.pool.FIRST_CHECK_WITHIN_S", 600)
    world.change(agent("a"))
    await world.picks(1)
    world.upstream.slow |= {"b", "c", "d"}

    world.change(agent("a"), agent("b"), agent("c", priority=1), agent("d", priority=9, model="x"))
    names = await world.picks(2, "m")

    assert names == "aa"


async def test_a_better_agent_that_is_new_is_waited_for_a_moment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "BETTER_WITHIN_S", 0.05)
    world.change(agent("a"))
    await world.picks(1)
    world.upstream.slow.add("c")

    world.change(agent("a"), agent("b", priority=6))
    assert await world.picks(1) == "b"
    world.change(agent("a"), agent("b", priority=6), agent("c", priority=9))
    async with asyncio.timeout(5):
        names = await world.picks(2)

    assert names == "bb"


async def test_who_moves_on_waits_for_the_only_other_one_though_it_is_new_and_worse(world: World) -> None:
    first = agent("a")
    world.change(first)
    await world.picks(1)

    world.change(first, agent("b", priority=1))
    work = await world.pool.give(None, "m", (), tried=[first])
    work.end()

    assert work.agent.name == "b"


async def test_without_others_the_first_that_answers_is_enough(world: World) -> None:
    world.upstream.slow.add("a")
    world.change(agent("a"), agent("b"))

    async with asyncio.timeout(5):
        names = await world.picks(2)

    assert names == "bb"


async def test_a_named_agent_is_waited_for_alone(world: World) -> None:
    world.upstream.slow.add("a")
    world.change(agent("a"), agent("b"))

    async with asyncio.timeout(5):
        chosen = await world.pick("b")

    assert chosen == "b"


async def test_those_that_were_tried_are_not_given_work_again_whatever_the_priority(world: World) -> None:
    a, b, c = agent("a", priority=9), agent("b", priority=9), agent("c")
    world.change(a, b, c)

    names = []
    for tried in ((), (a,), (b,), (a, b)):
        work = await world.pool.give(None, None, (), tried=tried)
        work.end()
        names.append(work.agent.name)

    assert names == ["a", "b", "a", "c"]
    with pytest.raises(NoHealthyAgents):
        await world.pool.give(None, None, (), tried=(a, b, c))


async def test_an_echo_stands_in_for_an_echo_only(world: World) -> None:
    a, e, f = agent("a", priority=9, max_concurrency=1), echo("e"), echo("f")
    world.change(a, e, f)
    work = await world.pool.give(None, None, ())

    with pytest.raises(NoHealthyAgents):
        await world.pool.give(None, None, (), tried=(a,))
    with pytest.raises(AgentsBusy):
        await world.pool.give(None, None, (), within_s=0)
    work.end()
    world.change(e, f)

    assert (await world.pool.give(None, None, (), tried=(e,))).agent.name == "f"


async def test_an_agent_in_maintenance_is_not_chosen_and_named_it_says_so(world: World) -> None:
    resting = agent("a", priority=9, in_maintenance=True)
    world.change(resting, agent("b"))

    assert await world.picks(2) == "bb"
    with pytest.raises(AgentInMaintenance):
        await world.pick("a")
    world.change(resting)
    with pytest.raises(NoHealthyAgents, match="All of the 1 agents that fit are in maintenance"):
        await world.picks(1)


async def test_nobody_says_when_the_first_may_be_tried(world: World) -> None:
    world.change(agent("a"), agent("b"))
    await world.picks(1)
    for name in "ab":
        for _ in range(3):
            world.monitor.failed(agent(name), "oops")

    with pytest.raises(NoHealthyAgents) as nobody:
        await world.picks(1)

    assert nobody.value.retry_after == 10


async def test_an_agent_comes_back_slowly(world: World) -> None:
    a, b = agent("a", weight=10), agent("b", weight=10)
    world.change(a, b)
    await world.picks(2)
    for _ in range(3):
        world.monitor.failed(a, "oops")
    away = await world.picks(10)
    world.monitor.succeeded(a)

    slowly = await world.picks(110)
    world.clock.now_s += 15
    half = await world.picks(160)
    world.clock.now_s += 15
    whole = await world.picks(20)

    assert (away.count("a"), slowly.count("a"), half.count("a"), whole.count("a")) == (0, 10, 60, 10)


async def test_of_one_that_is_half_open_one_piece_of_work_is_the_trial(world: World) -> None:
    a = agent("a")
    world.change(a)
    await world.picks(1)
    for _ in range(3):
        world.monitor.failed(a, "oops")
    world.clock.now_s += 10
    await world.monitor.check("a")

    trial = await world.pool.give(None, None, ())
    with pytest.raises(NoHealthyAgents) as others:
        await world.picks(1)
    trial.end()
    again = await world.pool.give(None, None, ())
    again.succeeded()
    again.end()

    assert others.value.retry_after == 1
    assert await world.picks(2) == "aa"


async def test_who_was_waited_for_and_fell_ill_is_not_given_the_work(world: World) -> None:
    a = agent("a", max_concurrency=1)
    world.change(a)
    work = await world.pool.give(None, None, ())
    waiting = asyncio.create_task(world.pool.give(None, None, ()))
    await until(lambda: bool(world.pool._concurrency._desks["a"].queue))

    for _ in range(3):
        work.failed("oops")
    work.end()

    with pytest.raises(NoHealthyAgents):
        await waiting
