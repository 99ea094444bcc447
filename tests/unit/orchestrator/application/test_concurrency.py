"""How many calls an agent works on at once, and who comes next."""

import asyncio

from orchestrator.application.concurrency import Concurrency
from tests.unit.orchestrator.agents import agent

A, B = agent("a", max_concurrency=1), agent("b", max_concurrency=2)


async def test_an_agent_is_full_at_its_limit_and_free_again_below() -> None:
    counted = Concurrency()

    counted.take(B)
    one = set(counted.full)
    counted.take(B)
    two = set(counted.full)
    counted.leave(B)

    assert (one, two, counted.full) == (set(), {"b"}, set())


async def test_places_go_to_who_waits_for_the_longest_time_and_are_full_meanwhile() -> None:
    counted = Concurrency()
    counted.take(B)
    counted.take(B)
    waits = [asyncio.create_task(counted.wait([B], within_s=5)) for _ in range(2)]
    await asyncio.sleep(0)

    counted.leave(B)
    await asyncio.sleep(0)
    first = [wait.done() for wait in waits]
    counted.leave(B)

    assert first == [True, False]
    assert await asyncio.gather(*waits) == [B, B]
    assert counted.full == {"b"}


async def test_as_many_wait_as_work_and_for_whichever_is_free_first() -> None:
    counted = Concurrency()
    for one in (A, B, B):
        counted.take(one)
    waits = [asyncio.create_task(counted.wait([A, B], within_s=0.5)) for _ in range(3)]
    await asyncio.sleep(0)

    beyond = await counted.wait([A, B], within_s=5)
    counted.leave(B)
    counted.leave(A)

    assert beyond is None
    assert await asyncio.gather(*waits) == [B, A, None]


async def test_who_gives_up_waiting_takes_no_place() -> None:
    counted = Concurrency()
    counted.take(A)
    late = await counted.wait([A], within_s=0)
    cancelled = asyncio.create_task(counted.wait([A], within_s=5))
    await asyncio.sleep(0)
    counted.leave(A)  # in the turn in which the one that waits is cancelled
    cancelled.cancel()
    await asyncio.wait([cancelled])

    assert (late, cancelled.cancelled(), counted.full) == (None, True, set())
    assert counted._desks == {}


async def test_a_lower_limit_lets_calls_end_before_others_begin() -> None:
    counted, lower = Concurrency(), agent("b", max_concurrency=1)
    counted.take(B)
    counted.take(B)
    counted.leave(B)
    counted.take(lower)

    counted.leave(B)
    still_full = set(counted.full)
    counted.leave(lower)

    assert (still_full, counted.full) == ({"b"}, set())
