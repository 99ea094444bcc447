"""The sending end of a stream without a bus: what leaves when, and how far ahead of its reader."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from shared.bus.client import BusClient
from shared.bus.notes import note_agent
from shared.bus.outlet import StreamOutlet
from shared.bus.streams import CHUNK_COST, NUMBER_BYTES, WINDOW, ReaderGone
from shared.errors import TooLarge


@dataclass
class FakeClient:
    """Keeps what is sent; a turn of the loop ends when the test says so."""

    max_payload: int = 1_000_000
    sent: list[bytes] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    before: list[Callable[[], None]] = field(default_factory=list)

    def before_writing(self, finish: Callable[[], None]) -> None:
        self.before.append(finish)

    def send(self, _subject: str, body: bytes, *, reply: str, headers: bytes) -> None:
        assert reply == "flow"
        self.sent.append(body)
        self.headers.append(headers)

    def end_turn(self) -> None:
        before, self.before = self.before, []
        for finish in before:
            finish()


def outlet_on(client: FakeClient, *, patience: float = 60, on_stall: Callable[[], None] | None = None) -> StreamOutlet:
    return StreamOutlet(
        cast("BusClient", client), "chunks", flow="flow", patience=patience, on_stall=on_stall or (lambda: None)
    )


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


async def still_waiting(write: Coroutine[Any, Any, None] | asyncio.Task[None]) -> asyncio.Task[None]:
    task = write if isinstance(write, asyncio.Task) else asyncio.create_task(write)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_pieces_of_one_turn_leave_as_one_chunk_and_those_of_the_next_as_another(client: FakeClient) -> None:
    outlet = outlet_on(client)

    for piece in (b"a", b"b", b"c"):
        await outlet.write(piece)
    client.end_turn()
    await outlet.write(b"d")
    client.end_turn()
    client.end_turn()

    assert client.sent == [b"\0\0\0\0abc", b"\0\0\0\1d"]
    assert outlet.chunks == 2


async def test_nothing_waits_for_the_end_of_the_turn_when_the_stream_ends(client: FakeClient) -> None:
    outlet = outlet_on(client)
    await outlet.write(b"last")

    outlet.finish()

    assert client.sent == [b"\0\0\0\0last"]
    with pytest.raises(ReaderGone):
        await outlet.write(b"later")


async def test_what_was_noted_before_the_first_piece_goes_with_it_alone(client: FakeClient) -> None:
    outlet = outlet_on(client)

    note_agent("a1")
    await outlet.write(b"first")
    note_agent("a2")
    client.end_turn()
    await outlet.write(b"second")
    client.end_turn()

    assert client.headers == [b"NATS/1.0\r\nPeanut-Agent: a1\r\n\r\n", b""]


@pytest.mark.parametrize("size", [1, 100, 5000, WINDOW // 2 - CHUNK_COST])
async def test_a_writer_is_never_more_than_a_window_ahead(client: FakeClient, size: int) -> None:
    outlet = outlet_on(client)

    async def write_on() -> None:
        while True:
            await outlet.write(b"x" * size)
            client.end_turn()

    task = await still_waiting(write_on())
    cost = sum(len(chunk) - NUMBER_BYTES + CHUNK_COST for chunk in client.sent)
    outlet.consumed(cost)
    await asyncio.sleep(0)
    cost_then = sum(len(chunk) - NUMBER_BYTES + CHUNK_COST for chunk in client.sent)
    task.cancel()

    assert WINDOW - size - CHUNK_COST < cost <= WINDOW
    assert cost < cost_then <= cost + WINDOW


async def test_a_piece_larger_than_the_window_goes_whole_when_the_reader_may_have_taken_all(client: FakeClient) -> None:
    outlet = outlet_on(client)
    await outlet.write(b"x" * (WINDOW // 2 - CHUNK_COST - 1))
    client.end_turn()  # a reader does not yet say that it has taken so little

    await outlet.write(b"y" * (3 * WINDOW))
    client.end_turn()
    await still_waiting(outlet.write(b"z"))

    assert [len(chunk) for chunk in client.sent][1] == NUMBER_BYTES + 3 * WINDOW


async def test_a_piece_that_no_message_can_hold_is_refused(client: FakeClient) -> None:
    with pytest.raises(TooLarge):
        await outlet_on(client).write(b"x" * 1_000_000)


async def test_what_a_reader_says_twice_too_late_or_of_what_was_never_sent_changes_nothing(client: FakeClient) -> None:
    outlet = outlet_on(client)
    await outlet.write(b"x" * WINDOW)
    client.end_turn()
    writing = await still_waiting(outlet.write(b"y"))

    for position in (0, 1 << 60):
        outlet.consumed(position)
    await still_waiting(writing)
    outlet.consumed(WINDOW + CHUNK_COST)
    await writing
    outlet.consumed(1)
    client.end_turn()

    assert client.sent[1] == b"\0\0\0\1y"


async def test_a_reader_that_takes_nothing_is_told_of_and_one_that_takes_little_is_not(client: FakeClient) -> None:
    stalled = asyncio.Event()
    outlet = outlet_on(client, patience=0.15, on_stall=stalled.set)
    await outlet.write(b"x" * WINDOW)
    client.end_turn()
    writing = asyncio.create_task(outlet.write(b"y" * WINDOW))

    for position in range(1, 5):
        await asyncio.sleep(0.05)
        outlet.consumed(position)
    was_stalled = stalled.is_set()
    await asyncio.wait_for(stalled.wait(), 1)
    writing.cancel()

    assert not was_stalled


async def test_who_waits_for_a_reader_that_leaves_is_told(client: FakeClient) -> None:
    outlet = outlet_on(client)
    await outlet.write(b"x" * WINDOW)
    client.end_turn()
    writing = await still_waiting(outlet.write(b"y"))

    outlet.abandon()
    with pytest.raises(ReaderGone):
        await writing
    client.end_turn()

    assert len(client.sent) == 1
