"""Time: deadlines, cancelled calls, and servers that are faster or slower than their readers."""

import asyncio
from typing import Any

import pytest

from shared.http import ConnectionBroken, HttpClient, NoAnswerInTime, NotConnected
from shared.http.connection import HIGH_WATER_BYTES
from tests.unit.shared.http.asking import get, post, within
from tests.unit.shared.http.server import OK, Server, says_nothing, sends
from tests.waiting import until

LONG = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        says_nothing,
        sends(*(OK[at : at + 1] for at in range(20)), every_s=0.1),
        sends(LONG, *[b" "] * 100, every_s=0.05),
        sends(*[b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 10, every_s=0.1),
    ],
    ids=["nothing", "head drips", "body drips", "interim answers"],
)
async def test_an_answer_has_until_its_deadline(client: HttpClient, server: Server, reply: object) -> None:
    server.reply = reply  # type: ignore[assignment]  # parametrize forgets types

    with pytest.raises(NoAnswerInTime):
        await post(client, server.peer, seconds=0.2)

    await asyncio.wait_for(server.ended.wait(), 5)


async def test_a_deadline_that_has_passed_leaves_no_time_to_connect(client: HttpClient, server: Server) -> None:
    with pytest.raises(NotConnected):
        await get(client, server.peer, seconds=0)


async def test_a_deadline_ends_with_its_answer(client: HttpClient, server: Server) -> None:
    server.reply = sends(OK)
    await get(client, server.peer, seconds=0.1)

    await asyncio.sleep(0.2)

    assert await get(client, server.peer) == (200, b"hello")
    assert server.connections == 1


@pytest.mark.parametrize("reply", [says_nothing, sends(LONG)], ids=["before the head", "in the body"])
async def test_a_server_sees_within_100_ms_that_its_caller_was_cancelled(
    client: HttpClient, server: Server, reply: object
) -> None:
    server.reply = reply  # type: ignore[assignment]  # as above
    asking = asyncio.create_task(post(client, server.peer))
    await until(lambda: bool(server.requests))

    asking.cancel()
    await asyncio.wait_for(server.ended.wait(), 0.1)

    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_call_cancelled_as_its_answer_arrives_harms_nobody(client: HttpClient, server: Server) -> None:
    server.reply = sends(OK)
    for turns in range(30):
        asking = asyncio.create_task(get(client, server.peer))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])

        assert await get(client, server.peer) == (200, b"hello")


async def test_a_response_that_is_left_early_cuts_its_server_off(client: HttpClient, server: Server) -> None:
    server.reply = sends(LONG)

    with await client.send("GET", server.peer, "/", until=within(5)) as response:
        assert response.status == 200

    await asyncio.wait_for(server.ended.wait(), 0.1)
    with pytest.raises(ConnectionBroken):
        await response.read(10)


async def test_pieces_are_read_as_they_arrive_and_before_a_failure(client: HttpClient, server: Server) -> None:
    server.reply = sends(LONG, b"one", b"two", then_closes=True, every_s=0.05)

    with await client.send("GET", server.peer, "/", until=within(5)) as response:
        assert [await response.read_piece() for _ in range(2)] == [b"one", b"two"]
        with pytest.raises(ConnectionBroken):
            await response.read_piece()


async def test_a_server_is_kept_from_sending_while_nobody_reads(client: HttpClient, server: Server) -> None:
    sent = 0

    async def sends_a_lot(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n")
        for _ in range(1024):
            writer.write(b" " * 65536)
            await writer.drain()
            sent += 65536

    server.reply = sends_a_lot

    with await client.send("GET", server.peer, "/", until=within(10)) as response:
        await asyncio.sleep(0.3)
        held, sent_unread = response.held, sent
        body = await response.read(2**26)

    assert held < 2**19
    assert sent_unread < 2**25  # what the system's buffers take
    assert len(body) == 2**26
    server.reply = sends(OK)
    assert await get(client, server.peer) == (200, b"hello")
    assert server.connections == 1


async def test_reading_on_after_the_end_of_a_server_that_was_held_back(client: HttpClient, server: Server) -> None:
    server.reply = sends(LONG.replace(b"1000", b"400000"), b" " * 300_000, then_closes=True)

    with await client.send("GET", server.peer, "/", until=within(0.3)) as response:
        await asyncio.sleep(0.5)
        assert len(await response.read_piece()) > HIGH_WATER_BYTES
        with pytest.raises(NoAnswerInTime):
            await response.read_piece()


async def test_an_answer_before_its_request_is_none(
    client: HttpClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.greeting = OK
    server.reply = sends(OK)
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def connects_slowly(*arguments: Any, **options: Any) -> Any:
        connected = await connect(*arguments, **options)
        await asyncio.sleep(0.05)  # lets the greeting arrive first
        return connected

    monkeypatch.setattr(loop, "create_connection", connects_slowly)
    with pytest.raises(NotConnected):
        await post(client, server.peer)

    assert server.requests == []
