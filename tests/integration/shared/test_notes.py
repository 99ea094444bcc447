"""Limits that a handler meets reach whoever asked, over any number of hops."""

import asyncio

import pytest

from shared.bus import Bus, CallContext
from shared.bus.notes import LimitState, forget_notes, note_limit, noted_headers
from shared.errors import ErrorCode, PlatformError, RemoteFailure
from tests.integration.bus import Nats, bus_as
from tests.integration.shared.calls import APPEND, CHANGE, DISPATCH, READ, Text, echo, within

LEFT = LimitState("login", 10, 60, 9, 60)
USED_UP = LimitState("login", 10, 60, 0, 60)
TOLD = {"RateLimit-Policy": '"login";q=10;w=60', "RateLimit": '"login";r=9;t=60'}


class TooMany(PlatformError):
    code = ErrorCode.RATE_LIMITED
    reason = "too-many"


async def limited(request: Text, _context: CallContext) -> Text:
    if request.text == "refuse":
        note_limit(USED_UP)
        raise TooMany("Wait.", retry_after=60)
    note_limit(LEFT)
    return request


async def test_a_good_reply_says_how_the_limit_stands(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(limited))
        answer = await edge.call(CHANGE, Text(text="hello"), within(5))

    assert answer == Text(text="hello")
    assert noted_headers() == TOLD


async def test_a_failure_says_so_too_and_stays_what_it_is(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(limited))
        with pytest.raises(RemoteFailure) as failed:
            await edge.call(CHANGE, Text(text="refuse"), within(5))

    assert (failed.value.code, failed.value.reason, failed.value.retry_after) == ("rate_limited", "too-many", 60)
    assert noted_headers() == {**TOLD, "RateLimit": '"login";r=0;t=60'}


async def test_a_call_without_limits_says_nothing_and_forgets_nothing(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(limited), READ.answered_by(echo))
        await edge.call(READ, Text(), within(5))
        nothing = noted_headers()
        await edge.call(CHANGE, Text(), within(5))
        await edge.call(READ, Text(), within(5))

    assert nothing is None
    assert noted_headers() == TOLD


async def test_one_call_never_says_what_another_has_met(nats: Nats) -> None:
    async def ask(edge: Bus, text: str) -> object:
        forget_notes()
        if text == "plain":
            await edge.call(READ, Text(), within(5))
        else:
            await edge.call(CHANGE, Text(text=text), within(5))
        return noted_headers()

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(limited), READ.answered_by(echo))
        told = await asyncio.gather(*(ask(edge, text) for text in ("plain", "limited") * 20))

    assert told == [None, TOLD] * 20


async def test_limits_pass_a_service_in_the_middle(nats: Nats) -> None:
    async with (
        bus_as(nats, "edge") as edge,
        bus_as(nats, "orchestrator") as middle,
        bus_as(nats, "audit") as last,
    ):

        async def pass_on(request: Text, context: CallContext) -> Text:
            note_limit(LimitState("dispatch", 60, 60, 59, 60))
            return await middle.call(APPEND, request, context)

        await last.serve(APPEND.answered_by(limited))
        await middle.serve(DISPATCH.answered_by(pass_on))
        await edge.call(DISPATCH, Text(), within(5))

    assert noted_headers() == {
        "RateLimit-Policy": '"dispatch";q=60;w=60, "login";q=10;w=60',
        "RateLimit": '"dispatch";r=59;t=60, "login";r=9;t=60',
    }
