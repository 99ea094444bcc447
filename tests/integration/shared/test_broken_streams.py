"""Streams whose reader or producer is killed, and those of a producer that does not keep to the rules."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus import Bus, CallContext, Inlet, Outlet, StreamBroken
from shared.bus.context import to_headers
from shared.bus.requester import OutcomeUnknown
from shared.bus.responder import settle
from shared.clock import unix_ms
from tests.integration.bus import Nats, bus_as
from tests.integration.shared.calls import DISPATCH, STREAM, Text, within
from tests.integration.shared.clients import client_as
from tests.integration.shared.processes import program, said, streamer
from tests.waiting import until


@dataclass
class Work:
    """Handlers that go on until they are stopped; this notes when."""

    begun: int = 0
    stopped: list[float] = field(default_factory=list)

    async def write(self, _body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        return await self._until_stopped(outlet, every=0.005)

    async def say_little(self, _body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        return await self._until_stopped(outlet, every=60)

    async def wait(self, request: Text, _context: CallContext) -> Text:
        await self._until_stopped(None, every=60)
        return request

    async def _until_stopped(self, outlet: Outlet | None, *, every: float) -> bytes:
        self.begun += 1
        try:
            while True:
                if outlet is not None:
                    await outlet.write(b"x")
                await asyncio.sleep(every)
        finally:
            self.stopped.append(time.monotonic())


@pytest.fixture
async def edge(nats: Nats) -> AsyncIterator[Bus]:
    async with bus_as(nats, "edge") as bus:
        yield bus


@pytest.fixture
def work() -> Work:
    return Work()


async def read_all(inlet: Inlet) -> None:
    while await inlet.piece() is not None:
        pass


@pytest.mark.parametrize("what", ["stream", "silent stream", "dispatch"])
async def test_what_a_killed_caller_waited_for_is_stopped_soon(
    nats: Nats, work: Work, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        bus_as(nats, "orchestrator") as orchestrator,
        program(nats, "reader", user="edge", argument=what.rsplit(maxsplit=1)[-1]) as edge,
    ):
        await orchestrator.serve(
            STREAM.streamed_by(work.write if what == "stream" else work.say_little), DISPATCH.answered_by(work.wait)
        )
        await said(edge, "ready")
        await until(lambda: work.begun == 1)
        await asyncio.sleep(0.4)  # so that a first sign of work was heard
        edge.kill()
        await until(lambda: not orchestrator._responder._calls)

    assert len(work.stopped) == 1
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_stream_that_nobody_reads_any_more_while_its_writer_waits_for_credit_is_stopped(
    nats: Nats, work: Work
) -> None:
    async def flat_out(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        work.begun += 1
        try:
            while True:
                await outlet.write(b"x" * 1000)
        finally:
            work.stopped.append(time.monotonic())

    async with (
        bus_as(nats, "orchestrator") as orchestrator,
        program(nats, "reader", user="edge", argument="stall") as edge,
    ):
        await orchestrator.serve(STREAM.streamed_by(flat_out))
        await said(edge, "ready")
        await until(lambda: work.begun == 1)
        await asyncio.sleep(0.3)
        edge.kill()
        await until(lambda: len(work.stopped) == 1)


@pytest.mark.parametrize("what", ["stream", "dispatch"])
async def test_a_caller_whose_connection_breaks_stops_its_work_when_it_is_back(
    nats: Nats, edge: Bus, work: Work, what: str
) -> None:
    async def wait() -> None:
        if what == "dispatch":
            await edge.call(DISPATCH, Text(), within(30))
        async with edge.stream(STREAM, b"", within(30)) as inlet:
            await read_all(inlet)

    async with bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(STREAM.streamed_by(work.say_little), DISPATCH.answered_by(work.wait))
        waiting = asyncio.create_task(wait())
        await until(lambda: work.begun == 1)
        edge._client._transport.close()  # type: ignore[no-untyped-call]  # nats-py leaves it bare
        with pytest.raises(OutcomeUnknown):
            await waiting
        await until(lambda: len(work.stopped) == 1)


@pytest.mark.parametrize("body", [b"", b"silent"], ids=["flowing", "silent"])
async def test_a_killed_producer_is_noticed_long_before_the_deadline(nats: Nats, edge: Bus, body: bytes) -> None:
    async with streamer(nats) as producer:
        await said(producer, "ready")
        async with edge.stream(STREAM, body, within(60)) as inlet:
            first = await inlet.piece()
            producer.kill()
            async with asyncio.timeout(20):
                with pytest.raises(OutcomeUnknown):
                    await read_all(inlet)

    assert first == b"orchestrator-1"


async def test_a_stream_that_says_nothing_for_long_goes_on(nats: Nats, edge: Bus) -> None:
    async def slowly(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        await outlet.write(b"1")
        await asyncio.sleep(3.5)
        await outlet.write(b"2")
        return b"done"

    async with bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(STREAM.streamed_by(slowly))
        async with edge.stream(STREAM, b"", within(30)) as inlet:
            pieces = [await inlet.piece() for _ in range(3)]

    assert (pieces, inlet.answer) == ([b"1", b"2", None], b"done")


@dataclass
class Producer:
    """A producer by hand: what it is asked, and whatever it wants to send."""

    client: Client
    flow: str = "peanut.flow.orchestrator.by-hand.1"
    asked: list[Msg] = field(default_factory=list)

    async def chunk(self, number: int, body: bytes) -> None:
        inbox, id = self.asked[0].reply.split("."), (self.asked[0].headers or {})["Peanut-Stream"]
        subject = f"peanut.stream.edge.{inbox[2]}.{id}"
        await self.client.publish(subject, number.to_bytes(4, "big") + body, reply=self.flow)

    async def end(self, chunks: int) -> None:
        await self.client.publish(self.asked[0].reply, b"done", headers={"Peanut-Chunks": str(chunks)})


@asynccontextmanager
async def by_hand(nats: Nats) -> AsyncIterator[Producer]:
    async with client_as(nats, "orchestrator") as (client, refusals):
        producer = Producer(client)

        async def hear(message: Msg) -> None:
            producer.asked.append(message)

        await client.subscribe("peanut.orchestrator.>", queue="orchestrator", cb=hear)
        await settle(client)
        yield producer
        assert await refusals.since_last_time() == []


async def test_chunks_that_come_after_the_answer_are_waited_for(nats: Nats, edge: Bus) -> None:
    async with by_hand(nats) as producer, edge.stream(STREAM, b"", within(30)) as inlet:
        await until(lambda: len(producer.asked) == 1)
        await producer.chunk(0, b"a")
        await producer.end(2)
        first = await inlet.piece()
        waiting = asyncio.create_task(inlet.piece())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await producer.chunk(1, b"b")
        pieces = [first, await waiting, await inlet.piece()]

    assert (pieces, inlet.answer) == ([b"a", b"b", None], b"done")


async def test_a_gap_breaks_a_stream_after_what_came_before_it(nats: Nats, edge: Bus) -> None:
    async with by_hand(nats) as producer, edge.stream(STREAM, b"", within(30)) as inlet:
        await until(lambda: len(producer.asked) == 1)
        for number in (0, 2, 3):
            await producer.chunk(number, b"%d" % number)
        await producer.end(4)
        first = await inlet.piece()
        for _ in range(2):
            with pytest.raises(StreamBroken) as caught:
                await inlet.piece()

    assert (first, caught.value.reason) == (b"0", "stream-broken")


@pytest.mark.parametrize(("sent", "told"), [(1, 2), (1, 0), (0, 1)])
async def test_an_answer_that_tells_of_another_number_of_chunks_breaks_a_stream(
    nats: Nats, edge: Bus, sent: int, told: int
) -> None:
    async with by_hand(nats) as producer, edge.stream(STREAM, b"", within(30)) as inlet:
        await until(lambda: len(producer.asked) == 1)
        for number in range(sent):
            await producer.chunk(number, b"x")
        await producer.end(told)
        pieces = [await inlet.piece() for _ in range(sent)]
        async with asyncio.timeout(10):
            with pytest.raises(StreamBroken):
                await inlet.piece()

    assert pieces == [b"x"] * sent


@pytest.mark.asvs("8.3.1")
@pytest.mark.parametrize("flow", ["", "peanut.audit.entry.append.edge", "peanut.flow.orchestratorx.1", "$SRV.PING"])
async def test_a_producer_cannot_have_a_reader_say_anything_elsewhere(nats: Nats, edge: Bus, flow: str) -> None:
    async with by_hand(nats) as producer, edge.stream(STREAM, b"", within(30)) as inlet:
        await until(lambda: len(producer.asked) == 1)
        producer.flow = flow
        before = edge._client.stats["out_msgs"]
        await producer.chunk(0, b"x" * 40_000)
        with pytest.raises(StreamBroken):
            await inlet.piece()

        assert edge._client.stats["out_msgs"] == before


@pytest.mark.parametrize("id", ["short", "0" * 31, "0" * 33, "A" * 32, "*" * 32, "g" * 32, f"{'0' * 30}.>"])
async def test_a_stream_with_an_odd_name_is_not_begun(nats: Nats, work: Work, id: str) -> None:
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    async with client_as(nats, "edge") as (client, _), bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(STREAM.streamed_by(work.write))
        await client.subscribe("_INBOX_edge.orchestrator.x-1.*", cb=hear)
        await client.publish(
            STREAM.subject,
            b"",
            reply="_INBOX_edge.orchestrator.x-1.1",
            headers={**to_headers(within(5), unix_ms()), "Peanut-Stream": id},
        )
        await until(lambda: len(heard) == 1)

    assert ((heard[0].headers or {})["Nats-Service-Error-Code"], work.begun) == ("malformed", 0)
