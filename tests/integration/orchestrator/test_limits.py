"""Limits and token budgets of dispatch: exact over two replicas, whatever happens to the bus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.domain.budget import Account
from shared.bus.records import RecordsUnavailable
from shared.ids import new_id
from shared.limits import FixedWindow
from tests.integration.bus import Nats
from tests.integration.orchestrator.limiting import MINUTE, Clock, Replica, counting, per_minute, two_counting
from tests.waiting import eventually

CONCURRENCY = 64


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def replicas(nats: Nats, data_dir: Path, clock: Clock) -> AsyncIterator[list[Replica]]:
    async with two_counting(nats, data_dir, clock) as both:
        yield both


@pytest.fixture
def whose() -> str:
    """Somebody new: the bucket is the same for all tests."""
    return new_id()


async def flood(replicas: list[Replica], policy: FixedWindow, whose: str, *, each: int) -> int:
    """How many of `each` requests of 64 clients pass, who take turns at the replicas."""

    async def client(number: int) -> int:
        charges = [await replicas[(number + turn) % len(replicas)].limits.charge(policy, whose) for turn in range(each)]
        return sum(1 for charge in charges if not charge.is_refused)

    return sum(await asyncio.gather(*(client(number) for number in range(CONCURRENCY))))


@pytest.mark.parametrize("quota", [1, 7, 60, 640, 3000])
async def test_at_concurrency_64_over_two_replicas_no_request_passes_a_limit(
    replicas: list[Replica], whose: str, quota: int
) -> None:
    passed = await flood(replicas, per_minute(quota), whose, each=60)

    assert quota - quota // 100 <= passed <= quota


async def test_less_than_the_quota_passes_without_a_refusal(replicas: list[Replica], whose: str) -> None:
    passed = await flood(replicas[:1], per_minute(10_000), whose, each=60)

    assert passed == 60 * CONCURRENCY


async def test_each_window_has_its_own_quota_and_permits_end_with_theirs(
    replicas: list[Replica], whose: str, clock: Clock
) -> None:
    policy = per_minute(1000)
    passed = []
    for _ in range(3):
        passed.append(await flood(replicas, policy, whose, each=10))
        clock.now += MINUTE

    last = await flood(replicas, policy, whose, each=60)

    assert passed == [10 * CONCURRENCY] * 3
    assert 990 <= last <= 1000


async def test_a_violation_blocks_everywhere_for_a_minute_then_two_and_is_forgotten_after_a_quiet_window(
    replicas: list[Replica], whose: str, clock: Clock
) -> None:
    one, other = replicas
    policy = per_minute(1)
    waits = []
    for _ in range(4):
        assert not (await one.limits.charge(policy, whose)).is_refused
        refused = await one.limits.charge(policy, whose)
        elsewhere = await other.limits.charge(policy, whose)
        assert (refused.is_refused, elsewhere.is_refused) == (True, True)
        assert elsewhere.reset_s == refused.reset_s
        waits.append(refused.reset_s)
        clock.now += timedelta(seconds=refused.reset_s)
    clock.now += MINUTE

    assert waits == [60, 120, 240, 300]
    assert not (await one.limits.charge(policy, whose)).is_refused
    assert (await other.limits.charge(policy, whose)).reset_s == 60


async def reserve_all(replicas: list[Replica], key: str, budget: int, tokens: int, clock: Clock) -> list[bool]:
    until = clock.now + MINUTE

    async def client(number: int) -> bool:
        made = await replicas[number % len(replicas)].budgets.reserve(key, budget, tokens, until=until)
        return made.reservation is not None

    return await asyncio.gather(*(client(number) for number in range(CONCURRENCY)))


async def test_at_concurrency_64_over_two_replicas_no_request_passes_a_budget(
    replicas: list[Replica], whose: str, clock: Clock
) -> None:
    made = await reserve_all(replicas, whose, 1000, 90, clock)

    assert made.count(True) == 11


async def test_what_is_settled_counts_in_the_other_replica_and_what_is_not_used_is_free_again(
    replicas: list[Replica], whose: str, clock: Clock
) -> None:
    one, other = replicas
    until = clock.now + MINUTE
    first = await one.budgets.reserve(whose, 1000, 900, until=until)
    refused = await other.budgets.reserve(whose, 1000, 200, until=until)
    assert first.reservation is not None
    one.budgets.settle(first.reservation, 300)

    async def is_settled() -> bool:
        return (await other.budgets.reserve(whose, 1000, 1001, until=until)).free == 700

    await eventually(is_settled)
    again = await other.budgets.reserve(whose, 1000, 700, until=until)

    assert (refused.reservation, refused.free, refused.fits_in_s) == (None, 100, 60)
    assert again.reservation is not None
    assert again.free == 0


async def test_a_reservation_that_was_lost_with_its_replica_expires(
    nats: Nats, data_dir: Path, whose: str, clock: Clock
) -> None:
    async with counting(nats, data_dir, clock, "orchestrator-3") as dead:
        await dead.budgets.reserve(whose, 1000, 900, until=clock.now + MINUTE)
    async with counting(nats, data_dir, clock, "orchestrator-4") as alive:
        before = await alive.budgets.reserve(whose, 1000, 200, until=clock.now + MINUTE)
        clock.now += MINUTE
        after = await alive.budgets.reserve(whose, 1000, 200, until=clock.now + MINUTE)

    assert (before.reservation is None, after.reservation is None) == (True, False)


async def test_a_budget_is_whole_again_at_midnight(replicas: list[Replica], whose: str, clock: Clock) -> None:
    one, other = replicas
    late = await one.budgets.reserve(whose, 1000, 1000, until=clock.now + MINUTE)
    assert late.reservation is not None
    one.budgets.settle(late.reservation, 1000)
    refused = await one.budgets.reserve(whose, 1000, 1, until=clock.now + MINUTE)

    clock.now += timedelta(seconds=refused.fits_in_s)

    assert clock.now.isoformat() == "2026-11-23T00:00:00+00:00"
    assert (await other.budgets.reserve(whose, 1000, 1000, until=clock.now + MINUTE)).reservation is not None


async def test_after_a_restart_of_the_server_the_bucket_is_made_again_and_budgets_are_what_they_were(
    own_nats: Nats, data_dir: Path, whose: str, clock: Clock
) -> None:
    async with two_counting(own_nats, data_dir, clock) as (one, other):
        until = clock.now + MINUTE
        for replica in (one, other):
            made = await replica.budgets.reserve(whose, 1000, 400, until=until)
            assert made.reservation is not None
            replica.budgets.settle(made.reservation, 300)
        under_way = await one.budgets.reserve(whose, 1000, 300, until=until)
        await one.limits.charge(per_minute(1), whose)

        async def is_saved() -> bool:
            return sum((await other.usage.of(Account(whose, clock.now.date()))).values()) == 600

        await eventually(is_saved)
        own_nats.kill()
        with pytest.raises(RecordsUnavailable) as failure:
            await _refused_without_server(other, whose)
        own_nats.start()
        await eventually(lambda: _answers(other), within=10)
        anew = await other.limits.charge(per_minute(1), whose)

        async def is_as_before() -> bool:
            return (await other.budgets.reserve(whose, 1000, 1001, until=until)).free == 100

        await eventually(is_as_before)
        assert under_way.reservation is not None
        fits = await other.budgets.reserve(whose, 1000, 100, until=until)
        none = await one.budgets.reserve(whose, 1000, 1, until=until)

    assert failure.value.retry_after == 1
    assert not anew.is_refused
    assert (fits.reservation is not None, none.reservation) == (True, None)


async def _refused_without_server(replica: Replica, whose: str) -> None:
    while True:
        await replica.limits.charge(per_minute(10), whose + "x")


async def _answers(replica: Replica) -> bool:
    with suppress(RecordsUnavailable):
        await replica.limits.charge(per_minute(10), new_id())
        return True
    return False
