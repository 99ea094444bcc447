"""Answers that come piece by piece, and clients who do not take them as they should; on real sockets."""

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest

from edge.http import exchange, server
from edge.http.problems import problem_event
from edge.http.request import Request
from edge.http.response import Response, Streamed
from edge.identities import Known
from shared.bus.notes import hear_notes
from shared.errors import ErrorCode, PlatformError
from tests.integration.leaving import Leave, close, half_close, reset
from tests.unit.edge.http.serving import Door, edge
from tests.waiting import until

PATH = "/api/v1/stream"
HEAD = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-01\r\n"
ASK = HEAD.encode() + b"\r\n"
EVENT = b"data: 1\n\n"


class AgentFailed(PlatformError):
    code = ErrorCode.BAD_GATEWAY
    reason = "agent-failed"


@dataclass
class Upstream:
    """A source whose pieces tests choose: bytes, None for the end, or a failure."""

    coming: asyncio.Queue[bytes | BaseException | None] = field(default_factory=asyncio.Queue)
    opened: int = 0
    left: int = 0
    taken: int = 0
    notes: dict[str, str] = field(default_factory=dict)
    answer: bytes = b'{"whole": true}'

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Upstream"]:
        self.opened += 1
        try:
            yield self
        finally:
            self.left += 1

    async def piece(self) -> bytes | None:
        piece = await self.coming.get()
        hear_notes(self.notes)
        if isinstance(piece, BaseException):
            raise piece
        self.taken += 1
        return piece

    def sends(self, *pieces: bytes | BaseException | None) -> None:
        for piece in pieces:
            self.coming.put_nowait(piece)

    async def route(self, _request: Request, _known: Known) -> Response | Streamed:
        return Streamed(self.open, problem_event)


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@asynccontextmanager
async def serving(upstream: Upstream) -> AsyncIterator[int]:
    async with edge(hot={("GET", PATH): upstream.route}, door=Door()) as port:
        yield port


async def ask(port: int, data: bytes = ASK) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def head(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, str]]:
    async with asyncio.timeout(5):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    names = [line.split(": ", 1) for line in lines[1:] if line]
    headers = dict(names)
    assert len(headers) == len(names)
    return lines[0].encode(), headers


async def chunk(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        size = int(await reader.readline(), 16)
        body = await reader.readexactly(size + 2)
    assert body.endswith(b"\r\n")
    return body[:-2]


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_each_piece_is_a_chunk_as_soon_as_it_is_there_and_the_connection_lives_on(upstream: Upstream) -> None:
    async with serving(upstream) as port:
        reader, writer = await ask(port)
        upstream.sends(EVENT)
        status, headers = await head(reader)
        pieces = [await chunk(reader)]
        upstream.sends(b"data: 2\n\n")
        pieces.append(await chunk(reader))
        upstream.sends(None)
        pieces.append(await chunk(reader))
        writer.write(ASK)
        upstream.sends(b"data: again\n\n", None)
        again, _ = await head(reader)
        pieces.append(await chunk(reader))
        writer.close()

    assert (status, again) == (b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK")
    assert pieces == [EVENT, b"data: 2\n\n", b"", b"data: again\n\n"]
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["transfer-encoding"] == "chunked"
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-request-id"]
    assert not {"content-length", "connection", "content-encoding"} & set(headers)
    assert (upstream.opened, upstream.left) == (2, 2)


async def test_the_head_and_the_first_piece_leave_together(upstream: Upstream) -> None:
    async with serving(upstream) as port:
        reader, writer = await ask(port)
        upstream.sends(EVENT)
        async with asyncio.timeout(5):
            first = await reader.read(65536)
        writer.close()

    assert first.endswith(b"\r\n\r\n9\r\ndata: 1\n\n\r\n")


async def test_what_was_noted_with_the_first_piece_stands_in_the_head(upstream: Upstream) -> None:
    upstream.notes = {"Peanut-Agent": "0abc", "RateLimit": '"dispatch";r=7;t=42'}
    upstream.notes["RateLimit-Policy"] = '"dispatch";q=60;w=60'
    upstream.sends(EVENT, None)

    async with serving(upstream) as port:
        reader, writer = await ask(port)
        _, headers = await head(reader)
        writer.close()

    assert headers["peanut-agent"] == "0abc"
    assert headers["ratelimit"] == '"dispatch";r=7;t=42'
    assert headers["ratelimit-policy"] == '"dispatch";q=60;w=60'


async def test_notes_cannot_split_the_answer(upstream: Upstream) -> None:
    upstream.notes = {"Peanut-Agent": "0abc\r\nset-cookie: a=b", "RateLimit": '"dispatch";r=7;t=42\r\nx: y'}
    upstream.sends(EVENT, None)

    async with serving(upstream) as port:
        reader, writer = await ask(port, HEAD.encode() + b"X-Request-Id: a\rb\r\nOrigin: x\ty\r\n\r\n")
        status, headers = await head(reader)
        writer.close()

    assert not {"set-cookie", "x", "peanut-agent", "ratelimit"} & set(headers)
    assert status.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))  # the parser may refuse such headers by itself


async def test_without_a_piece_the_answer_is_an_ordinary_one(upstream: Upstream) -> None:
    upstream.sends(None)

    async with serving(upstream) as port:
        reader, writer = await ask(port)
        status, headers = await head(reader)
        body = await reader.readexactly(int(headers["content-length"]))
        writer.close()

    assert (status, headers["content-type"], body) == (b"HTTP/1.1 200 OK", "application/json", b'{"whole": true}')


async def test_a_failure_before_the_first_piece_has_its_status(upstream: Upstream) -> None:
    upstream.notes = {"Peanut-Agent": "0abc"}
    upstream.sends(AgentFailed("It did not."))

    async with serving(upstream) as port:
        reader, writer = await ask(port)
        status, headers = await head(reader)
        body = orjson.loads(await reader.readexactly(int(headers["content-length"])))
        writer.close()

    assert (status, body["type"]) == (b"HTTP/1.1 502 Bad Gateway", "/problems/agent-failed")
    assert (headers["content-type"], headers["peanut-agent"]) == ("application/problem+json", "0abc")


@pytest.mark.parametrize("mistake", [False, True], ids=["expected", "a mistake of ours"])
async def test_a_failure_later_is_the_last_event(mistake: bool, upstream: Upstream) -> None:
    upstream.sends(EVENT, RuntimeError("a secret") if mistake else AgentFailed("It broke off."))

    async with serving(upstream) as port:
        reader, writer = await ask(port)
        _, headers = await head(reader)
        first, last, end = [await chunk(reader) for _ in range(3)]
        writer.close()

    name, data = last.decode().removesuffix("\n\n").split("\n")
    details = orjson.loads(data.removeprefix("data: "))
    assert (first, name, end) == (EVENT, "event: error", b"")
    assert details["type"] == ("/problems/internal" if mistake else "/problems/agent-failed")
    assert details["requestId"] == headers["x-request-id"]
    assert "secret" not in data


async def test_head_gets_the_head_alone(upstream: Upstream) -> None:
    upstream.sends(EVENT, EVENT, None)

    async with serving(upstream) as port:
        reader, writer = await ask(port, ASK.replace(b"GET", b"HEAD") + ASK.replace(b"Bearer", b"Basic"))
        status, headers = await head(reader)
        next_status, _ = await head(reader)
        writer.close()

    assert (status, headers["content-type"]) == (b"HTTP/1.1 200 OK", "text/event-stream; charset=utf-8")
    assert next_status == b"HTTP/1.1 401 Unauthorized"
    assert (upstream.taken, upstream.left) == (1, 1)


@pytest.mark.parametrize("extra", ["", "Connection: keep-alive\r\n"])
async def test_who_speaks_http_1_0_gets_no_chunks_and_the_end_of_the_connection(extra: str, upstream: Upstream) -> None:
    upstream.sends(EVENT, b"data: 2\n\n", None)

    async with serving(upstream) as port:
        reader, writer = await ask(port, (HEAD.replace("HTTP/1.1", "HTTP/1.0") + extra + "\r\n").encode())
        _, headers = await head(reader)
        async with asyncio.timeout(5):
            body = await reader.read()
        writer.close()

    assert (headers["connection"], body) == ("close", EVENT + b"data: 2\n\n")
    assert "transfer-encoding" not in headers


async def test_who_wants_the_connection_closed_reads_the_whole_stream_before(upstream: Upstream) -> None:
    upstream.sends(EVENT, None)

    async with serving(upstream) as port:
        reader, writer = await ask(port, (HEAD + "Connection: close\r\nAccept-Encoding: gzip, br\r\n\r\n").encode())
        _, headers = await head(reader)
        async with asyncio.timeout(5):
            body = await reader.read()
        writer.close()

    assert (headers["connection"], headers["transfer-encoding"]) == ("close", "chunked")
    assert body == b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"


async def test_requests_sent_ahead_are_answered_after_the_stream(upstream: Upstream) -> None:
    async with serving(upstream) as port:
        reader, writer = await ask(port, ASK * 3)
        for number in range(3):
            upstream.sends(b"data: %d\n\n" % number, EVENT, None)
        answers = []
        for _ in range(3):
            await head(reader)
            answers.append([await chunk(reader) for _ in range(3)])
        writer.close()

    assert answers == [[b"data: %d\n\n" % number, EVENT, b""] for number in range(3)]


async def test_a_piece_of_nothing_does_not_end_the_stream(upstream: Upstream) -> None:
    upstream.sends(EVENT, b"", b"data: 2\n\n", None)

    async with serving(upstream) as port:
        reader, writer = await ask(port)
        await head(reader)
        pieces = [await chunk(reader) for _ in range(3)]
        writer.close()

    assert pieces == [EVENT, b"data: 2\n\n", b""]


@pytest.mark.parametrize("leave", [close, half_close, reset])
@pytest.mark.parametrize("ahead", [0, 2], ids=["", "with more requests on the way"])
async def test_whoever_leaves_ends_the_stream_at_once(
    leave: Leave, ahead: int, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.sends(EVENT)

    async with serving(upstream) as port:
        reader, writer = await ask(port, ASK * (1 + ahead))
        await head(reader)
        leave(writer)
        await until(lambda: upstream.left == 1)
        writer.close()

    assert (upstream.opened, complaints(caplog)) == (1, [])


async def test_whoever_leaves_while_the_first_piece_is_awaited_ends_it_as_well(upstream: Upstream) -> None:
    async with serving(upstream) as port:
        _, writer = await ask(port)
        await until(lambda: upstream.opened == 1)
        writer.close()
        await until(lambda: upstream.left == 1)


async def test_who_does_not_read_is_waited_for_and_ended_after_a_while(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exchange, "STALLED_AFTER_S", 0.3)
    many = 2000
    upstream.sends(*[b"data: " + b"x" * 10_000 + b"\n\n"] * many)

    async with serving(upstream) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(ASK)
            await until(lambda: upstream.left == 1)
            assert upstream.taken < many

    assert complaints(caplog) == []


async def test_who_reads_slowly_is_waited_for_and_gets_everything(upstream: Upstream) -> None:
    piece = b"data: " + b"x" * 10_000 + b"\n\n"
    upstream.sends(*[piece] * 1000, None)

    async with serving(upstream) as port:
        reader, writer = await ask(port)
        await head(reader)
        received = 0
        while taken := await chunk(reader):
            assert taken == piece
            received += 1
            if received % 100 == 0:
                await asyncio.sleep(0.01)
        writer.close()

    assert received == 1000


async def test_a_silent_stream_says_that_it_is_alive(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "KEEP_ALIVE_S", 0.1)
    upstream.sends(EVENT)

    async with serving(upstream) as port:
        reader, writer = await ask(port)
        await head(reader)
        pieces = [await chunk(reader) for _ in range(3)]
        upstream.sends(None)
        while await chunk(reader):
            pass
        writer.write(ASK)
        upstream.sends(EVENT, None)
        status, _ = await head(reader)
        pieces.append(await chunk(reader))
        pieces.append(await chunk(reader))
        writer.close()

    assert pieces == [EVENT, b": \n\n", b": \n\n", EVENT, b""]
    assert status == b"HTTP/1.1 200 OK"


async def test_a_stream_that_outlives_the_server_ends_with_an_error(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "FINISH_WITHIN_S", 0.2)
    upstream.sends(EVENT)

    async with serving(upstream) as port:
        reader, writer = await ask(port)
        await head(reader)
        await chunk(reader)
    last, end = await chunk(reader), await chunk(reader)
    assert await reader.read() == b""
    writer.close()

    assert (last.splitlines()[0], end) == (b"event: error", b"")
    assert b"/problems/outcome-unknown" in last
    assert upstream.left == 1


async def test_a_hundred_who_leave_at_once_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    upstreams = []

    async def route(_request: Request, _known: Known) -> Streamed:
        upstreams.append(Upstream())
        upstreams[-1].sends(EVENT)
        return Streamed(upstreams[-1].open, problem_event)

    async with edge(hot={("GET", PATH): route}, door=Door()) as port:
        clients = [await ask(port) for _ in range(100)]
        for reader, _ in clients:
            await head(reader)
        for _, writer in clients:
            writer.close()
        await until(lambda: [upstream.left for upstream in upstreams] == [1] * 100)

    gc.collect()
    assert complaints(caplog) == []
