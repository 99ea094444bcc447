"""How a connection begins, and how it is refused."""

import asyncio
from pathlib import Path

import pytest

from shared.bus import connect
from shared.bus.connecting import BusRefused, BusUnreachable
from shared.bus.transport import NoTls
from tests.integration.bus import Nats, bus_as
from tests.integration.ports import free_port
from tests.integration.shared.calls import READ, Text, echo, within
from tests.integration.shared.processes import replica, said
from tests.waiting import until


def never() -> None:
    raise AssertionError("the bus connection was given up")


async def test_a_server_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    nats = Nats(tmp_path)
    opening = asyncio.create_task(_connect_and_end(nats))
    await asyncio.sleep(3.3)  # longer than one attempt
    nats.start()
    await asyncio.wait_for(opening, 3)
    nats.kill()


async def test_a_server_that_never_comes_is_given_up_with_its_address(tmp_path: Path) -> None:
    nats = Nats(tmp_path)
    async with asyncio.timeout(10):
        with pytest.raises(BusUnreachable, match=nats.url):
            async with connect(
                nats.url, service="auth", instance="a", nkey_file=nats.nkey("auth"), on_lost=never, within=0.5
            ):
                pass


@pytest.mark.parametrize("content", [None, "", "no seed", "SUAAAA", "\xff\xfe"])
async def test_a_missing_or_broken_identity_is_told_at_once(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "x.nk"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))

    with pytest.raises(BusRefused, match=r"x\.nk"):
        async with connect(f"nats://127.0.0.1:{free_port()}", service="a", instance="a", nkey_file=file, on_lost=never):
            pass


async def test_an_identity_that_the_server_does_not_know_is_told_at_once(nats: Nats, tmp_path: Path) -> None:
    stranger = Nats(tmp_path)
    async with asyncio.timeout(10):
        with pytest.raises(BusRefused):
            async with connect(nats.url, service="auth", instance="a", nkey_file=stranger.nkey("auth"), on_lost=never):
                pass


async def test_a_process_with_an_unknown_identity_ends_with_one_line(nats: Nats, tmp_path: Path) -> None:
    stranger = Nats(tmp_path)
    stranger.url = nats.url
    async with replica(stranger) as process:
        _, errors = await asyncio.wait_for(process.communicate(), 15)

    assert process.returncode == 1
    assert errors.decode().splitlines() == ["The NATS server does not know this identity."]


async def test_a_connection_is_lost_when_the_server_forgets_the_identity(own_nats: Nats, tmp_path: Path) -> None:
    lost = asyncio.Event()
    (tmp_path / "other").mkdir()
    other = Nats(tmp_path / "other")
    async with connect(
        own_nats.url, service="auth", instance="a", nkey_file=own_nats.nkey("auth"), on_lost=lost.set
    ) as bus:
        own_nats.kill()
        config = tmp_path / "nats.conf"
        config.write_text((tmp_path / "other" / "nats.conf").read_text().replace(str(other.port), str(own_nats.port)))
        own_nats.start()

        await asyncio.wait_for(lost.wait(), 3)
        assert not bus.is_connected


async def test_a_process_whose_identity_is_forgotten_ends_with_status_1(own_nats: Nats, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Nats(tmp_path / "other")
    async with replica(own_nats) as process:
        await said(process, "ready")
        own_nats.kill()
        config = tmp_path / "nats.conf"
        config.write_text((tmp_path / "other" / "nats.conf").read_text().replace(str(other.port), str(own_nats.port)))
        own_nats.start()
        output, errors = await asyncio.wait_for(process.communicate(), 10)

    assert (process.returncode, errors) == (1, b"")
    assert output.count(b'"bus_lost"') == 1


async def test_a_process_that_still_waits_for_the_server_can_be_stopped(tmp_path: Path) -> None:
    async with replica(Nats(tmp_path)) as process:
        await said(process, "bus_error")
        process.terminate()
        _, errors = await asyncio.wait_for(process.communicate(), 3)

    assert (process.returncode, errors) == (0, b"")


async def _connect_and_end(nats: Nats) -> None:
    async with bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_by(echo))
        async with bus_as(nats, "edge") as edge:
            assert (await edge.call(READ, Text(text="hello"), within(2))).text == "hello"


async def test_a_server_that_speaks_garbage_is_left_and_connected_to_again(nats: Nats) -> None:
    connections = 0

    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b'INFO {"max_payload": 1048576, "headers": true} \r\n')
        while await reader.readline() != b"PING\r\n":
            pass
        writer.write(b"PONG\r\n")
        if connections == 1:
            writer.write(b"MSG a 1 many\r\n")
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(garble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        connect(
            f"nats://127.0.0.1:{port}", service="auth", instance="a", nkey_file=nats.nkey("auth"), on_lost=never
        ) as bus,
    ):
        await until(lambda: connections > 1 and bus.is_connected)


async def test_a_server_that_asks_for_tls_is_refused_at_once_and_in_words(nats: Nats) -> None:
    async def ask_for_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"max_payload": 1048576, "headers": true, "tls_required": true} \r\n')
        await reader.read()
        writer.close()

    server = await asyncio.start_server(ask_for_tls, "127.0.0.1", 0)
    url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        with pytest.raises(NoTls, match="TLS"):
            async with connect(url, service="auth", instance="a", nkey_file=nats.nkey("auth"), on_lost=never, within=5):
                pass
