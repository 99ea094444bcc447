"""An unknown account, a wrong password and a disabled account cannot be told apart, by what is said or by what is done.

Time is what the same work takes: the same hashes, and the same statements in the same order.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from auth.domain.password import ScryptCost
from auth.domain.user import InvalidCredentials
from auth.infrastructure.scrypt_passwords import scrypt
from auth.infrastructure.sql_password_hashes import dearest_hash
from shared.bus.notes import forget_notes, noted_headers
from shared.errors import PlatformError
from shared.limits import RateLimited
from tests.unit.auth.world import CHEAP, PASSWORD, Log, World, open_world

HASH = "hash"  # of p = 1; in a thread of its own, so at any time between the statements

CASES = {
    "unknown": ("nobody@example.org", PASSWORD),
    "wrong": ("ada@example.org", "a perfectly wrong password"),
    "disabled": ("grace@example.org", PASSWORD),
}


class Watched:
    """A world of which every hash and every statement is written down."""

    def __init__(self, world: World, done: list[str]) -> None:
        self.world = world
        self.done = done

    async def refusal(self, case: str) -> tuple[object, ...]:
        """All that is said and done when this log-in is refused."""
        email, password = CASES[case]
        forget_notes()
        self.done.clear()
        self.world.log.entries.clear()
        with pytest.raises(PlatformError) as refused:
            await self.world.log_in(email, password)
        error = refused.value
        said = (type(error), error.code, error.reason, error.detail, error.errors, error.retry_after, noted_headers())
        statements = tuple(each for each in self.done if each != HASH)
        return said, statements, self.done.count(HASH), tuple(self.world.log.told())


@asynccontextmanager
async def watching(file: Path, log: Log, *, cost: ScryptCost = CHEAP) -> AsyncIterator[Watched]:
    """A world that is watched, over the database in `file`."""
    done: list[str] = []

    def deriving(password: bytes, salt: bytes, cost: ScryptCost) -> bytes:
        done.extend([HASH] * cost.p)  # all are of one N and r
        return scrypt(password, salt, cost)

    def note(*given: Any) -> None:
        done.append(str(given[2]))

    async with open_world(file, log, cost=cost, derive=deriving) as world:
        event.listen(world.database._engine.sync_engine, "before_cursor_execute", note)
        yield Watched(world, done)


@pytest.fixture
async def watched(file: Path, log: Log) -> AsyncIterator[Watched]:
    async with watching(file, log) as watched:
        await watched.world.add_user("ada@example.org")
        await watched.world.disable(await watched.world.add_user("grace@example.org"))
        await watched.world.log_in("ada@example.org")  # the address is known from now on
        yield watched


@pytest.mark.asvs("6.3.1")
async def test_all_three_are_refused_alike(watched: Watched) -> None:
    unknown, wrong, disabled = [await watched.refusal(case) for case in CASES]

    assert watched.done.count(HASH) == 1
    assert unknown[0][0] is InvalidCredentials  # type: ignore[index]  # what was said
    assert _without_left(unknown) == _without_left(wrong) == _without_left(disabled)


@pytest.mark.parametrize(("p_before", "p_today"), [(1, 5), (5, 1)])
async def test_an_account_with_a_hash_of_another_cost_is_refused_after_the_same_work(
    file: Path, log: Log, p_before: int, p_today: int
) -> None:
    async with open_world(file, log, cost=ScryptCost(n=16, r=1, p=p_before)) as before:
        ada = await before.add_user("ada@example.org")
    async with watching(file, log, cost=ScryptCost(n=16, r=1, p=p_today)) as watched:
        await watched.world.add_user("grace@example.org", is_disabled=True)
        dearest = await dearest_hash(watched.world.database)
        assert dearest is not None
        watched.world.hashing.notice(dearest)
        await watched.world.log_in("ada@example.org")  # the address is known from now on
        await watched.world.set_user(ada, password_hash=ada.password_hash)  # not the new one of that log-in

        unknown, wrong, disabled = [await watched.refusal(case) for case in CASES]

    assert _without_left(unknown) == _without_left(wrong) == _without_left(disabled)


@pytest.mark.asvs("6.3.1")
async def test_all_three_are_limited_alike(watched: Watched) -> None:
    for case in CASES:
        for _ in range(11):  # the eleventh is refused, and from then on nobody takes a hash for it
            await watched.refusal(case)

    unknown, wrong, disabled = [await watched.refusal(case) for case in CASES]

    assert unknown[0][0] is RateLimited  # type: ignore[index]  # what was said
    assert HASH not in watched.done
    assert unknown[-1] == ()  # nothing is recorded here; the edge counts it
    assert _without_left(unknown) == _without_left(wrong) == _without_left(disabled)


async def test_a_right_password_inside_a_block_is_refused_like_a_wrong_one(watched: Watched) -> None:
    for _ in range(10):
        await watched.refusal("wrong")
    wrong = await watched.refusal("wrong")
    watched.done.clear()

    with pytest.raises(RateLimited) as refused:
        await watched.world.log_in("ada@example.org", PASSWORD)

    assert refused.value.detail == wrong[0][3]  # type: ignore[index]  # what was said
    assert HASH not in watched.done


async def test_of_fifty_guesses_at_once_ten_are_looked_at(watched: Watched) -> None:
    watched.done.clear()
    watched.world.log.entries.clear()

    results = await asyncio.gather(
        *(watched.world.log_in("nobody@example.org", "guess") for _ in range(50)), return_exceptions=True
    )

    assert watched.world.log.told().count(("outcome", "auth.login_failed", "denied")) == 10
    assert watched.done.count(HASH) <= 11  # one is computed beside its count, whatever that says
    assert all(isinstance(result, PlatformError) for result in results)


def _without_left(refusal: tuple[Any, ...]) -> tuple[object, ...]:
    """Without how many log-ins the address has left, which is another number at each try."""
    said, *done = refusal
    limits = {name: value.partition(", ")[2] for name, value in (said[-1] or {}).items()}
    return (*said[:-1], limits), *done
