"""Which connections are used again, and for how long."""

import asyncio

import pytest

from shared.http import ConnectionBroken, HttpClient, NotConnected, Peer, open_client
from tests.unit.shared.http.asking import get, post, within
from tests.unit.shared.http.server import OK, Server, running, says_nothing, sends
from tests.waiting import until


async def many(client: HttpClient, peer: Peer, number: int) -> None:
    await asyncio.gather(*(get(client, peer) for _ in range(number)))


async def test_connections_are_used_again_the_last_one_first(client: HttpClient, server: Server) -> None:
    server.reply = sends(OK, every_s=0.02)
    await many(client, server.peer, 3)
    before = list(client._pool._by_age)

    await get(client, server.peer)
    await get(client, server.peer)

    assert server.connections == 3
    assert list(client._pool._by_age) == before


async def test_peers_share_no_connections(client: HttpClient, server: Server) -> None:
    server.reply = sends(OK)

    for host in ("a.example", "b.example", "a.example"):
        await get(client, server.peer_named(host))

    assert server.connections == 2


@pytest.mark.parametrize("surprise", [b"", OK, b"\r\n"], ids=["EOF", "an answer", "a line break"])
async def test_an_idle_connection_that_says_anything_is_closed(
    client: HttpClient, server: Server, surprise: bytes
) -> None:
    server.reply = sends(OK)
    await get(client, server.peer)

    server.writers[0].write(surprise)
    if not surprise:
        server.writers[0].close()
    await until(lambda: not client._pool._by_age)

    assert await post(client, server.peer) == (200, b"hello")
    assert server.connections == 2


async def test_a_request_on_a_connection_that_breaks_is_not_sent_again(client: HttpClient, server: Server) -> None:
    server.reply = sends(OK)
    await post(client, server.peer)
    server.reply = sends(then_closes=True)

    with pytest.raises(ConnectionBroken):
        await post(client, server.peer)

    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("header", "connections"),
    [
        (b"timeout=1", 2),
        (b"max=5, Timeout = 0", 2),
        (b"timeout=5, max=100", 1),
        (b"timeout=soon", 1),
        (b"timeout=999999999999", 1),
        (b"", 1),
    ],
)
async def test_a_connection_is_idle_no_longer_than_its_server_says(
    client: HttpClient, server: Server, header: bytes, connections: int
) -> None:
    server.reply = sends(OK.replace(b"\r\n\r\n", b"\r\nKeep-Alive: " + header + b"\r\n\r\n"))

    await get(client, server.peer)
    await get(client, server.peer)

    assert server.connections == connections


async def test_idle_connections_are_closed_in_time(client: HttpClient, server: Server) -> None:
    server.reply = sends(OK)
    await get(client, server.peer_named("stays.example"))
    server.reply = sends(OK.replace(b"\r\n\r\n", b"\r\nkeep-alive: timeout=2\r\n\r\n"))
    await get(client, server.peer_named("goes.example"))

    before = [connection.peer.host for connection in client._pool._by_age]
    await until(server.ended.is_set)

    assert before == ["stays.example", "goes.example"]
    assert [connection.peer.host for connection in client._pool._by_age] == ["stays.example"]


async def test_a_connection_that_is_too_old_is_not_used(client: HttpClient, server: Server) -> None:
    server.reply = sends(OK)
    await get(client, server.peer)
    (connection,) = client._pool._by_age
    connection.idle_until = within(-1)

    await get(client, server.peer)

    assert server.connections == 2


async def test_idle_connections_are_bounded_for_each_peer(
    client: HttpClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.http.pool.MAX_IDLE_PER_PEER", 2)
    server.reply = sends(OK, every_s=0.02)

    await many(client, server.peer, 5)

    assert len(client._pool._by_age) == 2


async def test_idle_connections_are_bounded_in_all_and_the_oldest_go(
    client: HttpClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.http.pool.MAX_IDLE", 2)
    server.reply = sends(OK)

    for host in ("a.example", "b.example", "a.example", "c.example"):
        await get(client, server.peer_named(host))

    assert [connection.peer.host for connection in client._pool._by_age] == ["a.example", "c.example"]


async def test_a_connection_with_half_a_request_in_it_is_not_used_again(client: HttpClient, server: Server) -> None:
    async def answers_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(0.5)
        writer.close()

    early = await asyncio.start_server(answers_early, "127.0.0.1", 0)
    async with early:
        peer = server.peer._replace(port=early.sockets[0].getsockname()[1])

        assert await post(client, peer, body=b" " * 2**25) == (200, b"hello")

        assert not client._pool._by_age
        await asyncio.sleep(0.6)


async def test_nobody_there_is_known_before_anything_is_sent(client: HttpClient) -> None:
    async with running() as gone:
        peer = gone.peer

    with pytest.raises(NotConnected):
        await get(client, peer)


async def test_closing_ends_idle_and_running_connections() -> None:
    async with running() as server:
        async with open_client() as client:
            server.reply = sends(OK)
            await get(client, server.peer_named("idle.example"))
            server.reply = says_nothing
            asking = asyncio.create_task(get(client, server.peer))
            await until(lambda: len(server.requests) == 2)

        with pytest.raises(ConnectionBroken):
            await asking
        with pytest.raises(NotConnected):
            await get(client, server.peer)
        assert not client._pool._all
        assert not client._pool._idle


async def test_closing_what_was_never_used_is_no_feat() -> None:
    async with open_client():
        pass
