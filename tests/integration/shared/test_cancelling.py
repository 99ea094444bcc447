"""Calls whose caller has gone: which are stopped, where, by whom and by whom not."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from shared.bus import Bus, CallContext, responder
from shared.bus.cancelling import cancel_subject
from shared.bus.responder import settle
from shared.errors import DeadlinePassed
from tests.integration.bus import Nats, bus_as
from tests.integration.shared.calls import CHANGE, DISPATCH, READ, Text, echo, within
from tests.integration.shared.clients import client_as
from tests.waiting import until


@dataclass
class Work:
    """A handler that holds its calls, and what became of them; cleaning up takes until `clean` is set."""

    begun: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    cleaned: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    clean: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Text, _context: CallContext) -> Text:
        self.begun.append(request.text)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped.append(request.text)
            await self.clean.wait()
            self.cleaned.append(request.text)
            raise
        self.done.append(request.text)
        return request


@pytest.fixture
def work() -> Work:
    made = Work()
    made.clean.set()
    return made


@pytest.fixture
async def edge(nats: Nats) -> AsyncIterator[Bus]:
    async with bus_as(nats, "edge") as bus:
        yield bus


@asynccontextmanager
async def two_replicas(nats: Nats, one: Work, other: Work) -> AsyncIterator[tuple[Bus, Bus]]:
    async with (
        bus_as(nats, "orchestrator", instance="orchestrator-1") as first,
        bus_as(nats, "orchestrator", instance="orchestrator-2") as second,
    ):
        await first.serve(DISPATCH.answered_by(one))
        await second.serve(DISPATCH.answered_by(other))
        yield first, second


async def asking(edge: Bus, text: str, work: Work, *, seconds: float = 30) -> asyncio.Task[Text]:
    """A dispatch that is being worked on."""
    task = asyncio.create_task(edge.call(DISPATCH, Text(text=text), within(seconds)))
    await until(lambda: text in work.begun)
    return task


async def leave(task: asyncio.Task[Text]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_the_replica_that_works_on_it_stops_and_no_other_call_does(nats: Nats, edge: Bus) -> None:
    works = Work(), Work()
    for work in works:
        work.clean.set()

    async with two_replicas(nats, *works) as replicas:
        calls = {str(n): asyncio.create_task(edge.call(DISPATCH, Text(text=str(n)), within(30))) for n in range(20)}
        await until(lambda: sum(len(work.begun) for work in works) == 20)
        leaving = {works[0].begun[0], works[1].begun[0], works[1].begun[1]}
        for text in leaving:
            calls[text].cancel()
        await until(lambda: sum(len(work.cleaned) for work in works) == 3)
        await until(lambda: sum(len(replica._responder._calls) for replica in replicas) == 17)
        for work in works:
            work.gate.set()
        answers = await asyncio.gather(*(call for text, call in calls.items() if text not in leaving))

    assert {answer.text for answer in answers} == calls.keys() - leaving
    assert (works[0].stopped, set(works[1].stopped)) == ([works[0].begun[0]], set(works[1].begun[:2]))


async def test_fifty_who_leave_at_once_stop_fifty_calls_and_are_answered_nothing(
    nats: Nats, edge: Bus, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    async with bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(DISPATCH.answered_by(work), READ.answered_by(echo))
        calls = [asyncio.create_task(edge.call(DISPATCH, Text(text=str(n)), within(30))) for n in range(50)]
        await until(lambda: len(work.begun) == 50)
        sent = orchestrator._client.stats["out_msgs"]
        for call in calls:
            call.cancel()
        await until(lambda: not orchestrator._responder._calls)
        answered = orchestrator._client.stats["out_msgs"] - sent

    assert (len(work.cleaned), work.done, answered) == (50, [], 0)
    assert not edge._requester._pending
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_the_deadline_stops_a_dispatch_as_well(nats: Nats, edge: Bus, work: Work) -> None:
    async with bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(DISPATCH.answered_by(work))
        with pytest.raises(DeadlinePassed):
            await edge.call(DISPATCH, Text(text="slow"), within(0.2))
        await until(lambda: work.cleaned == ["slow"])

    assert work.done == []


async def test_a_change_that_was_begun_goes_on_to_its_end(nats: Nats, edge: Bus, work: Work) -> None:
    async with bus_as(nats, "auth") as auth, client_as(nats, "edge") as (client, _):
        await auth.serve(CHANGE.answered_by(work))
        call = asyncio.create_task(edge.call(CHANGE, Text(text="change"), within(30)))
        await until(lambda: work.begun == ["change"])
        [running] = auth._responder._calls.values()
        await leave(call)
        # Nor does a caller who says so all the same get it stopped. It may not even say so.
        auth._responder._cancel(cancel_subject("auth", "edge"), "", _name_of(running.reply), b"")
        await settle(client)
        work.gate.set()
        await until(lambda: work.done == ["change"])

    assert work.stopped == []


async def test_who_leaves_at_once_is_never_worked_for(nats: Nats, edge: Bus, work: Work) -> None:
    async with bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(DISPATCH.answered_by(work))
        call = asyncio.create_task(edge.call(DISPATCH, Text(text="gone"), within(30)))
        edge._client._is_due = True  # so that it is written together with its cancelling
        await asyncio.sleep(0)
        await leave(call)
        edge._client._write()
        work.gate.set()
        answer = await edge.call(DISPATCH, Text(text="next"), within(5))
        left = len(orchestrator._responder._calls)

    assert (work.begun, answer.text, left) == (["next"], "next", 0)


@pytest.mark.parametrize("also", ["again", "by the drain"])
async def test_cleaning_up_is_cut_off_by_no_second_message_and_awaited_by_the_drain(
    nats: Nats, edge: Bus, work: Work, also: str
) -> None:
    work.clean.clear()

    async with client_as(nats, "edge") as (client, _), bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(DISPATCH.answered_by(work))
        call = await asking(edge, "x", work)
        [running] = orchestrator._responder._calls.values()
        await leave(call)
        await until(lambda: work.stopped == ["x"])
        if also == "again":
            for _ in range(3):
                await client.publish(cancel_subject("orchestrator", "edge"), _name_of(running.reply))
            await settle(client)
            work.clean.set()
            await until(lambda: work.cleaned == ["x"])
        else:
            draining = asyncio.create_task(orchestrator._responder.drain())
            await asyncio.sleep(0.1)
            assert not draining.done()
            work.clean.set()
            await draining

    assert (work.stopped, work.cleaned) == (["x"], ["x"])


async def test_a_dispatch_is_stopped_while_its_service_drains(
    nats: Nats, edge: Bus, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responder, "DRAIN_WITHIN_S", 5)

    async with bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(DISPATCH.answered_by(work))
        call = await asking(edge, "x", work)
        draining = asyncio.create_task(orchestrator._responder.drain())
        await until(lambda: not draining.done())
        await leave(call)
        async with asyncio.timeout(2):
            await draining

    assert work.cleaned == ["x"]


async def test_to_cancel_what_was_answered_or_never_asked_does_nothing(
    nats: Nats, edge: Bus, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    work.gate.set()

    async with client_as(nats, "edge") as (client, refusals), bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(DISPATCH.answered_by(work))
        await edge.call(DISPATCH, Text(text="x"), within(5))
        for name in (
            f"orchestrator.{edge._requester._process}.0".encode(),
            b"",
            b"made.up",
            b"\xff\x00",
            b"x" * 9999,
        ):
            await client.publish(cancel_subject("orchestrator", "edge"), name)
        refused = await refusals.since_last_time()
        answer = await edge.call(DISPATCH, Text(text="y"), within(5))

    assert (refused, answer.text, work.stopped) == ([], "y", [])
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.asvs("8.3.1")
@pytest.mark.parametrize("user", ["auth", "audit", "orchestrator", "operator"])
async def test_nobody_cancels_the_calls_of_others(nats: Nats, edge: Bus, work: Work, user: str) -> None:
    async with client_as(nats, user) as (client, refusals), bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(DISPATCH.answered_by(work))
        call = await asking(edge, "x", work)
        [running] = orchestrator._responder._calls.values()
        for caller in ("edge", user):
            await client.publish(cancel_subject("orchestrator", caller), _name_of(running.reply))
        refused = await refusals.since_last_time()
        # Not even with the permission of its own name: that names its own calls only.
        orchestrator._responder._cancel(cancel_subject("orchestrator", user), "", _name_of(running.reply), b"")
        orchestrator._responder._cancel(cancel_subject("orchestrator", user), "", running.reply.encode(), b"")
        work.gate.set()
        answer = await call

    assert (len(refused), answer.text, work.stopped) == (2, "x", [])


async def test_a_call_cancelled_as_it_fails_leaves_no_complaint(
    nats: Nats, edge: Bus, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    async with bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(DISPATCH.answered_by(work))
        call = await asking(edge, "x", work)
        edge._requester.disconnected()
        await leave(call)
        gc.collect()  # asyncio complains of what nobody has looked at when it is freed
        edge._requester.reconnected()
        await until(lambda: work.cleaned == ["x"])

    assert call.cancelled()
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


def _name_of(reply: str) -> bytes:
    return reply.removeprefix("_INBOX_edge.").encode()
