"""Streams over a real bus: pieces before the answer, in order, never too many of them, and an end that says so."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from shared.bus import Bus, CallContext, Inlet, Outlet, ReaderGone, call_context
from shared.bus.notes import note_agent, noted_headers
from shared.bus.requester import NoResponder, OutcomeUnknown
from shared.bus.streams import WINDOW
from shared.errors import DeadlinePassed, ErrorCode, PlatformError, RemoteFailure, TooLarge
from shared.principal import Caller
from tests.integration.bus import Nats, bus_as
from tests.integration.shared.calls import CALLER, DISPATCH, STREAM, Text, echo, within
from tests.waiting import until

Handler = Callable[[bytes, CallContext, Outlet], Awaitable[bytes]]


class OutOfPeanuts(PlatformError):
    code = ErrorCode.RATE_LIMITED
    reason = "out-of-peanuts"


@dataclass
class Endless:
    """A handler that writes a piece each 5 ms until it is stopped."""

    begun: int = 0
    stopped: list[float] = field(default_factory=list)

    async def __call__(self, _body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        self.begun += 1
        try:
            while True:
                await outlet.write(b".")
                await asyncio.sleep(0.005)
        finally:
            self.stopped.append(time.monotonic())


@pytest.fixture
async def edge(nats: Nats) -> AsyncIterator[Bus]:
    async with bus_as(nats, "edge") as bus:
        yield bus


@pytest.fixture
def endless() -> Endless:
    return Endless()


@asynccontextmanager
async def streaming(nats: Nats, handler: Handler) -> AsyncIterator[Bus]:
    async with bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(STREAM.streamed_by(handler), DISPATCH.answered_by(echo))
        yield orchestrator


async def pieces_of(inlet: Inlet) -> list[bytes]:
    pieces = []
    while (piece := await inlet.piece()) is not None:
        pieces.append(piece)
    return pieces


def someone(number: int) -> Caller:
    assert CALLER.principal is not None
    return Caller(principal=CALLER.principal.model_copy(update={"credential_id": f"c{number}"}))


async def test_pieces_come_in_their_order_and_then_the_answer(nats: Nats, edge: Bus) -> None:
    async def count_up(body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        for n in range(100):
            await outlet.write(b"%d," % n)
            await asyncio.sleep(0)
        return body

    async with streaming(nats, count_up), edge.stream(STREAM, b"asked", within(5)) as inlet:
        pieces = await pieces_of(inlet)
        again = await inlet.piece()

    assert b"".join(pieces) == b"".join(b"%d," % n for n in range(100))
    assert (inlet.answer, again) == (b"asked", None)


async def test_pieces_of_one_turn_are_one_message(nats: Nats, edge: Bus) -> None:
    async def burst(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        for _ in range(100):
            await outlet.write(b"x")
        await asyncio.sleep(0.01)
        for _ in range(100):
            await outlet.write(b"y")
        return b""

    async with streaming(nats, burst) as orchestrator:
        before = orchestrator._client.stats["out_msgs"]
        async with edge.stream(STREAM, b"", within(5)) as inlet:
            pieces = await pieces_of(inlet)

        assert orchestrator._client.stats["out_msgs"] - before == 3
    assert b"".join(pieces) == b"x" * 100 + b"y" * 100


async def test_a_piece_arrives_before_there_is_another(nats: Nats, edge: Bus) -> None:
    gate = asyncio.Event()

    async def wait_between(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        await outlet.write(b"first")
        await gate.wait()
        await outlet.write(b"second")
        return b"done"

    async with streaming(nats, wait_between), edge.stream(STREAM, b"", within(5)) as inlet:
        async with asyncio.timeout(1):
            first = await inlet.piece()
        gate.set()
        rest = await pieces_of(inlet)

    assert (first, rest, inlet.answer) == (b"first", [b"second"], b"done")


async def test_a_stream_without_pieces_is_an_ordinary_answer(nats: Nats, edge: Bus) -> None:
    async def answer(_body: bytes, _context: CallContext, _outlet: Outlet) -> bytes:
        return b"unstreamed"

    async with streaming(nats, answer), edge.stream(STREAM, b"", within(5)) as inlet:
        piece = await inlet.piece()

    assert (piece, inlet.answer) == (None, b"unstreamed")


@pytest.mark.parametrize("pieces", [[], [b"first"]], ids=["before", "after"])
async def test_a_failure_comes_after_what_was_written_before_it(nats: Nats, edge: Bus, pieces: list[bytes]) -> None:
    async def fail(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        for piece in pieces:
            await outlet.write(piece)
        raise OutOfPeanuts("None left.", retry_after=7)

    async with streaming(nats, fail), edge.stream(STREAM, b"", within(5)) as inlet:
        heard = [await inlet.piece() for _ in pieces]
        with pytest.raises(RemoteFailure) as caught:
            await inlet.piece()
        with pytest.raises(RemoteFailure):
            await inlet.piece()

    assert heard == pieces
    assert (caught.value.reason, caught.value.retry_after) == ("out-of-peanuts", 7)


async def test_what_was_noted_travels_with_the_first_piece_and_with_the_answer(nats: Nats, edge: Bus) -> None:
    gate = asyncio.Event()

    async def note(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        note_agent("a1")
        await outlet.write(b"first")
        note_agent("a2")
        await gate.wait()
        return b""

    async with streaming(nats, note), edge.stream(STREAM, b"", within(5)) as inlet:
        await inlet.piece()
        first = noted_headers()
        gate.set()
        await inlet.piece()

    assert (first, noted_headers()) == ({"Peanut-Agent": "a1"}, {"Peanut-Agent": "a2"})


async def test_a_producer_flat_out_is_never_a_window_ahead_of_a_slow_reader_and_nothing_is_lost(
    nats: Nats, edge: Bus
) -> None:
    chunks, written, read, furthest = 20_000, 0, 0, 0

    async def flat_out(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        nonlocal written, furthest
        for n in range(chunks):
            await outlet.write(b"%08d" % n)
            written += 8
            furthest = max(furthest, written - read)
            if n % 3 == 0:
                await asyncio.sleep(0)
        return b"all"

    numbers = bytearray()
    async with streaming(nats, flat_out), edge.stream(STREAM, b"", within(60)) as inlet:
        while (piece := await inlet.piece()) is not None:
            numbers += piece
            read += len(piece)
            await asyncio.sleep(0.0005)

    assert [int(numbers[n : n + 8]) for n in range(0, len(numbers), 8)] == list(range(chunks))
    assert (inlet.answer, furthest <= WINDOW) == (b"all", True)


async def test_who_reads_nothing_is_sent_no_more_than_a_window(nats: Nats, edge: Bus) -> None:
    written = 0

    async def flat_out(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        nonlocal written
        for _ in range(100):
            await outlet.write(b"x" * 1000)
            written += 1000
        return b""

    async with streaming(nats, flat_out), edge.stream(STREAM, b"", within(5)) as inlet:
        await until(lambda: written > WINDOW // 2)
        await asyncio.sleep(0.1)
        ahead = written
        pieces = await pieces_of(inlet)

    assert (WINDOW - 3000 < ahead <= WINDOW, len(b"".join(pieces))) == (True, 100_000)


async def test_a_piece_larger_than_the_window_comes_whole_and_one_larger_than_a_message_not_at_all(
    nats: Nats, edge: Bus
) -> None:
    async def large(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        await outlet.write(b"a" * 300_000)
        await outlet.write(b"b" * 300_000)
        try:
            await outlet.write(b"c" * 9_000_000)
        except TooLarge:
            return b"too large"
        return b""

    async with streaming(nats, large), edge.stream(STREAM, b"", within(5)) as inlet:
        pieces = await pieces_of(inlet)

    assert (pieces, inlet.answer) == ([b"a" * 300_000, b"b" * 300_000], b"too large")


@pytest.mark.parametrize("how", ["by its end", "by a failure", "by being cancelled"])
async def test_leaving_the_block_stops_the_producer_at_once(nats: Nats, edge: Bus, endless: Endless, how: str) -> None:
    reading = asyncio.Event()

    async def read() -> None:
        async with edge.stream(STREAM, b"", within(30)) as inlet:
            await inlet.piece()
            reading.set()
            if how == "by a failure":
                raise LookupError
            while how == "by being cancelled":
                await inlet.piece()

    async with streaming(nats, endless) as orchestrator:
        reader = asyncio.create_task(read())
        await reading.wait()
        if how == "by being cancelled":
            reader.cancel()
        await asyncio.wait([reader])
        await until(lambda: not orchestrator._responder._calls)

    assert len(endless.stopped) == 1
    assert not edge._inlets._open
    assert not orchestrator._responder._flows
    assert reader.cancelled() or reader.exception() is None or isinstance(reader.exception(), LookupError)


async def test_who_writes_on_after_the_reader_has_left_is_told(nats: Nats, edge: Bus) -> None:
    told: list[BaseException] = []

    async def stubborn(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        await outlet.write(b"x")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            try:
                await outlet.write(b"y")
            except ReaderGone as error:
                told.append(error)
            raise
        return b""

    async with streaming(nats, stubborn):
        async with edge.stream(STREAM, b"", within(5)) as inlet:
            await inlet.piece()
        await until(lambda: len(told) == 1)


async def test_a_reader_that_takes_nothing_is_told_that_it_stalled(nats: Nats, edge: Bus) -> None:
    stopped = asyncio.Event()

    async def flat_out(_body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        try:
            while True:
                await outlet.write(b"x" * 1000)
        except asyncio.CancelledError:
            stopped.set()
            raise

    async with streaming(nats, flat_out) as orchestrator:
        orchestrator._responder._reader_patience = 0.2  # not half a minute
        async with edge.stream(STREAM, b"", within(5)) as inlet:
            await asyncio.wait_for(stopped.wait(), 2)
            with pytest.raises(RemoteFailure) as caught:
                await pieces_of(inlet)

    assert (caught.value.code, caught.value.reason) == (ErrorCode.TIMEOUT, "reader-stalled")


async def test_the_deadline_ends_a_stream_on_both_sides(nats: Nats, edge: Bus, endless: Endless) -> None:
    async with streaming(nats, endless):
        async with edge.stream(STREAM, b"", within(0.3)) as inlet:
            with pytest.raises(DeadlinePassed):
                await pieces_of(inlet)
        await until(lambda: len(endless.stopped) == 1)


async def test_nobody_there_is_known_at_once(edge: Bus) -> None:
    async with edge.stream(STREAM, b"", within(5)) as inlet:
        with pytest.raises(NoResponder):
            await inlet.piece()


async def test_a_call_that_names_no_stream_is_told_that_it_should(nats: Nats, edge: Bus, endless: Endless) -> None:
    async with streaming(nats, endless):
        with pytest.raises(RemoteFailure) as caught:
            await edge.forward(STREAM, b"", within(5))

    assert (caught.value.code, endless.begun) == (ErrorCode.MALFORMED, 0)


async def test_a_stream_of_what_is_not_streamed_is_an_ordinary_answer(nats: Nats, edge: Bus, endless: Endless) -> None:
    async with streaming(nats, endless), edge.stream(DISPATCH, b'{"text":"x"}', within(5)) as inlet:
        piece = await inlet.piece()

    assert (piece, inlet.answer) == (None, b'{"text":"x"}')


async def test_only_what_ends_with_its_reader_can_be_streamed(endless: Endless) -> None:
    with pytest.raises(ValueError, match="ends with its reader"):
        DISPATCH.streamed_by(endless)


async def test_a_thousand_streams_at_once_lose_and_mix_nothing(nats: Nats, edge: Bus) -> None:
    together = 0
    gate = asyncio.Event()

    async def tell(body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        nonlocal together
        together += 1
        await outlet.write(body)
        await gate.wait()
        for _ in range(5):
            await outlet.write(body)
            await asyncio.sleep(0.01)
        return body

    async def ask(number: int) -> tuple[bytes, bytes]:
        context = call_context(seconds=60, caller=someone(number % 4))
        async with edge.stream(STREAM, b"%04d" % number, context) as inlet:
            return b"".join(await pieces_of(inlet)), inlet.answer

    async with streaming(nats, tell):
        tasks: list[asyncio.Task[tuple[bytes, bytes]]] = []
        for number in range(1000):
            tasks.append(asyncio.create_task(ask(number)))
            if number % 50 == 49:  # no more at a time, since both sides are this one process
                await until(lambda: together == len(tasks))
        dispatched = await edge.call(DISPATCH, Text(text="meanwhile"), within(5))
        gate.set()
        told = await asyncio.gather(*tasks)

    assert told == [(b"%04d" % number * 6, b"%04d" % number) for number in range(1000)]
    assert dispatched.text == "meanwhile"


async def test_a_broken_bus_ends_a_stream_on_both_sides(own_nats: Nats, endless: Endless) -> None:
    async with bus_as(own_nats, "edge") as edge, streaming(own_nats, endless):
        async with edge.stream(STREAM, b"", within(30)) as inlet:
            await inlet.piece()
            own_nats.kill()
            async with asyncio.timeout(10):
                with pytest.raises(OutcomeUnknown):
                    await pieces_of(inlet)
        await until(lambda: len(endless.stopped) == 1)
        own_nats.start()
        await until(lambda: edge.is_connected)
