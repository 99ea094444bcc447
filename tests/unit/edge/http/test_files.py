"""Streams that are files: nothing stands between their pieces, and none ends silently."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge.http import exchange, server
from edge.http.request import Request
from edge.http.response import Streamed
from edge.identities import Known
from shared.errors import Unavailable
from tests.unit.edge.http.serving import Door, edge
from tests.unit.edge.http.test_streaming import ASK, HEAD, PATH, Upstream, ask, chunk, head

LINE = b'{"index":0}\n'


@asynccontextmanager
async def file_of(upstream: Upstream) -> AsyncIterator[int]:
    async def route(_request: Request, _known: Known) -> Streamed:
        return Streamed(upstream.open, None, (), b"application/x-ndjson", comment=b"")

    async with edge(hot={("GET", PATH): route}, door=Door()) as port:
        yield port


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_what_fails_in_between_breaks_the_connection(version: str) -> None:
    upstream = Upstream()
    upstream.sends(LINE)

    async with file_of(upstream) as port:
        reader, _ = await ask(port, (HEAD.replace("HTTP/1.1", version) + "\r\n").encode())
        status, headers = await head(reader)
        first = await (chunk(reader) if version == "HTTP/1.1" else reader.readexactly(len(LINE)))
        upstream.sends(Unavailable("The log is damaged."))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 5)

    assert (status.split()[1], headers["content-type"], first) == (b"200", "application/x-ndjson", LINE)
    assert upstream.left == 1


async def test_what_fails_before_the_first_piece_is_an_ordinary_answer() -> None:
    upstream = Upstream()
    upstream.sends(Unavailable("The log is damaged."))

    async with file_of(upstream) as port:
        reader, writer = await ask(port)
        status, headers = await head(reader)
        writer.close()

    assert (status, headers["content-type"]) == (b"HTTP/1.1 503 Service Unavailable", "application/problem+json")


async def test_nothing_stands_between_the_pieces_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "KEEP_ALIVE_S", 0.05)
    upstream = Upstream()
    upstream.sends(LINE)

    async with file_of(upstream) as port:
        reader, writer = await ask(port)
        await head(reader)
        first = await chunk(reader)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.3)
        upstream.sends(LINE, None)
        rest = [await chunk(reader), await chunk(reader)]
        writer.close()

    assert (first, rest) == (LINE, [LINE, b""])


async def test_a_file_that_outlives_the_server_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FINISH_WITHIN_S", 0.2)
    upstream = Upstream()
    upstream.sends(LINE)

    async with file_of(upstream) as port:
        reader, _ = await ask(port, ASK)
        await head(reader)
        await chunk(reader)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
