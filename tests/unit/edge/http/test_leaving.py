"""Clients who leave before they have their answer; on real sockets."""

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from edge.http import protocol, server
from edge.http.exchange import exchange_of
from edge.http.request import Request
from edge.http.response import Response
from tests.integration.leaving import Leave, close, half_close, reset
from tests.unit.edge.http.serving import edge
from tests.waiting import until

WAIT = b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Route:
    """`/wait` waits with its client for the gate, `/alone` without it; all else is answered at once."""

    begun: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Request) -> Response:
        request.max_body = 1024 * 1024
        await request.body()
        self.begun.append(request.path)
        if request.path == "/wait":
            with exchange_of(request.scope).while_client_waits():
                await self._wait(request.path)
        elif request.path == "/alone":
            await self._wait(request.path)
        self.done.append(request.path)
        return Response(200, b"{}")

    async def _wait(self, path: str) -> None:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(path)
            raise


@pytest.fixture
def route() -> Route:
    return Route()


async def ask(port: int, *data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(data))
    await writer.drain()
    return reader, writer


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("leave", [close, half_close, reset])
async def test_what_only_its_client_wanted_is_cancelled_when_that_leaves(
    leave: Leave, route: Route, caplog: pytest.LogCaptureFixture
) -> None:
    async with edge(route) as port:
        _, writer = await ask(port, WAIT)
        await until(lambda: route.begun == ["/wait"])
        leave(writer)
        await until(lambda: route.cancelled == ["/wait"])
        writer.close()

    assert (route.done, complaints(caplog)) == ([], [])


async def test_all_else_goes_on_to_its_end(route: Route, caplog: pytest.LogCaptureFixture) -> None:
    async with edge(route) as port:
        _, leaving = await ask(port, b"GET /alone HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reader, staying = await ask(port, WAIT)
        await until(lambda: len(route.begun) == 2)
        leaving.close()
        await leaving.wait_closed()
        await _answered(port)
        route.gate.set()
        status = await reader.readline()
        staying.close()
        await until(lambda: len(route.done) == 3)

    assert status == b"HTTP/1.1 200 OK\r\n"
    assert (set(route.done), route.cancelled, complaints(caplog)) == ({"/alone", "/wait", "/next"}, [], [])


@pytest.mark.parametrize("ahead", [1, 3, protocol.MAX_WAITING_REQUESTS - 1])
async def test_a_client_with_more_requests_on_the_way_is_noticed_too_and_those_are_not_begun(
    ahead: int, route: Route, caplog: pytest.LogCaptureFixture
) -> None:
    async with edge(route) as port:
        _, writer = await ask(port, WAIT, NEXT * ahead)
        await until(lambda: route.begun == ["/wait"])
        writer.close()
        await until(lambda: route.cancelled == ["/wait"])
        await _answered(port)

    assert (route.begun, complaints(caplog)) == (["/wait", "/next"], [])  # `/next` is the other client's


async def test_requests_sent_ahead_are_answered_in_their_order(route: Route) -> None:
    route.gate.set()

    async with edge(route) as port:
        reader, writer = await ask(port, (WAIT + NEXT) * 10)
        async with asyncio.timeout(5):
            answers = [await _one_answer(reader) for _ in range(20)]
        writer.close()

    assert set(answers) == {b"HTTP/1.1 200 OK"}
    assert route.begun == ["/wait", "/next"] * 10


async def test_a_client_is_noticed_behind_a_large_body(route: Route) -> None:
    body = b"x" * 900_000
    head = b"POST /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)

    async with edge(route) as port:
        _, writer = await ask(port, head, body)
        await until(lambda: route.begun == ["/wait"])
        writer.close()
        await until(lambda: route.cancelled == ["/wait"])

    assert route.done == []


async def test_whoever_has_left_before_is_not_worked_for(route: Route) -> None:
    entered: list[str] = []
    arrived = asyncio.Event()

    async def late(request: Request) -> Response:
        if request.path == "/next":
            return Response(200, b"{}")
        arrived.set()
        await route.gate.wait()
        with exchange_of(request.scope).while_client_waits():
            entered.append(request.path)
        return Response(200, b"{}")

    async with edge(late) as port:
        _, writer = await ask(port, WAIT)
        await arrived.wait()
        writer.close()
        await writer.wait_closed()
        await _answered(port)
        route.gate.set()

    assert entered == []


async def test_fifty_who_leave_at_once_leave_nothing_behind(route: Route, caplog: pytest.LogCaptureFixture) -> None:
    async with edge(route) as port:
        clients = [await ask(port, WAIT) for _ in range(50)]
        await until(lambda: len(route.begun) == 50)
        for _, writer in clients:
            writer.close()
        await until(lambda: len(route.cancelled) == 50)

    assert (route.done, complaints(caplog)) == ([], [])


async def test_who_leaves_as_the_answer_comes_harms_nobody(route: Route, caplog: pytest.LogCaptureFixture) -> None:
    async with edge(route) as port:
        clients = [await ask(port, WAIT) for _ in range(30)]
        await until(lambda: len(route.begun) == 30)
        for _, writer in clients:
            writer.close()
        await asyncio.sleep(0)
        route.gate.set()
        await until(lambda: len(route.done) + len(route.cancelled) == 30)
        await _answered(port)

    assert complaints(caplog) == []


async def test_a_client_who_stays_hears_that_the_server_stops(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FINISH_WITHIN_S", 0.2)

    async with edge(route) as port:
        reader, writer = await ask(port, WAIT)
        await until(lambda: route.begun == ["/wait"])
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"/problems/outcome-unknown" in answer


@pytest.mark.parametrize(
    "behind",
    [b"GET /slow HTTP/1.1\r\nX: ", b"GARBAGE\r\n\r\n", b"GET /" + b"a" * 20_000, b"CONNECT /x HTTP/1.1\r\n\r\n"],
    ids=["half a head", "no request", "a large head", "an upgrade"],
)
async def test_what_is_refused_behind_a_request_takes_neither_its_answer_nor_its_place(
    behind: bytes, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADERS_WITHIN_S", 0.05)

    async with edge(route) as port:
        reader, writer = await ask(port, WAIT)
        await until(lambda: route.begun == ["/wait"])
        writer.write(behind)
        await writer.drain()
        await asyncio.sleep(0.1)
        route.gate.set()
        async with asyncio.timeout(5):
            answers = await reader.read()
        writer.close()

    assert answers.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answers


async def _answered(port: int) -> None:
    """Another client is answered: the edge has come round to everything before."""
    reader, writer = await ask(port, NEXT)
    assert await _one_answer(reader) == b"HTTP/1.1 200 OK"
    writer.close()


async def _one_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(2) == b"{}"
    return head.partition(b"\r\n")[0]
