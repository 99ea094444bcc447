"""What a use case and its caller see of limits."""

import asyncio

import pytest

from auth.application.limiting import Limit, password_bucket
from shared.bus.notes import noted_headers
from shared.limits import RateLimited
from tests.unit.auth.world import World, context


async def test_a_try_is_told_to_the_caller(world: World) -> None:
    await world.limits.charge((Limit.TOTP, "ada"))
    await world.limits.charge((Limit.PASSWORD, "ada|192.0.2.7"))

    assert noted_headers() == {
        "RateLimit-Policy": '"totp";q=5;w=60, "password";q=10;w=600',
        "RateLimit": '"totp";r=4;t=60, "password";r=9;t=600',
    }


async def test_a_refused_try_says_how_long_to_wait(world: World) -> None:
    for _ in range(5):
        await world.limits.charge((Limit.TOTP, "ada"))

    with pytest.raises(RateLimited) as refused:
        await world.limits.charge((Limit.TOTP, "ada"))

    error = refused.value
    assert (error.code, error.reason, error.retry_after) == ("rate_limited", "rate-limited", 60)
    assert noted_headers() == {"RateLimit-Policy": '"totp";q=5;w=60', "RateLimit": '"totp";r=0;t=60'}


async def test_after_a_right_one_all_are_there_again(world: World) -> None:
    await world.limits.charge((Limit.TOTP, "ada"))

    await world.limits.forgive(Limit.TOTP, "ada")

    assert noted_headers() == {"RateLimit-Policy": '"totp";q=5;w=60', "RateLimit": '"totp";r=5;t=60'}


async def test_what_one_call_has_met_another_does_not_say(world: World) -> None:
    await asyncio.create_task(world.limits.charge((Limit.TOTP, "ada")))

    assert noted_headers() is None


def test_wrong_passwords_count_by_account_and_address() -> None:
    assert password_bucket("ada@example.org", context()) == "ada@example.org|192.0.2.7"
