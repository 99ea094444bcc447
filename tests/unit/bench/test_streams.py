"""The fake provider's streams and their load generator, over real connections."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from tests.bench.core_meter import core_meter
from tests.bench.rows import chat_request
from tests.bench.stream_generator import generate
from tests.bench.stream_load import StreamLoad
from tests.bench.stream_rows import DISPATCH_END, OPENAI_END
from tests.bench.tokens import UNTIL_TOLD, Wish
from tests.bench.upstream import Provider
from tests.bench.upstream_streams import Stream, stream_opening, token_chunk


@pytest.fixture(scope="module", autouse=True)
def meter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with core_meter(tmp_path_factory.mktemp("cores") / "cores"):
        yield


@dataclass
class _Running:
    port: int

    def pids(self) -> dict[str, tuple[int, ...]]:
        return {}


@asynccontextmanager
async def _running(kind: type[Provider]) -> AsyncIterator[_Running]:
    streams: set[Stream] = set()
    connections: set[Provider] = set()

    class Counted(kind):  # type: ignore[valid-type, misc]  # mypy knows no classes that are arguments
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            connections.add(self)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            connections.discard(self)

    server = await asyncio.get_running_loop().create_server(lambda: Counted(streams), "127.0.0.1", 0)
    async with server:
        yield _Running(server.sockets[0].getsockname()[1])
    while connections:  # noqa: ASYNC110  # protocols know no events
        await asyncio.sleep(0.001)


def _load(provider: _Running, wish: Wish, *, streams: int) -> StreamLoad:
    return StreamLoad(
        port=provider.port,
        requests=(chat_request(provider, message=wish.message, stream=True),),
        end=OPENAI_END,
        streams=streams,
        warm_up_s=0,
        measured_s=0.1,
        provider_port=provider.port,
        watched={},
    )


@pytest.mark.parametrize("wish", [Wish(2, 1), Wish(500, 0), Wish(UNTIL_TOLD, 5), Wish(UNTIL_TOLD, 0)])
async def test_every_stream_is_read_to_its_end(wish: Wish) -> None:
    async with _running(Provider) as provider:
        measured = await generate(_load(provider, wish, streams=3))

    assert (measured.errors, measured.first_error) == ({}, None)
    assert measured.completed >= 3
    assert measured.chunks > 0
    assert 0 <= measured.first_token_ms["p50"] < 1000
    assert 0 <= measured.delay_ms["p50"] < 1000


class _Dropping(Provider):
    def answer(self, request: bytes) -> None:
        self._transport.write(stream_opening() + token_chunk(0, 0) + token_chunk(2, 0, is_last=True))


class _Repeating(Provider):
    def answer(self, request: bytes) -> None:
        whole = b"event: done\ndata: #0@0;#1@0.\n\n"
        end = b"%x\r\n%b\r\n0\r\n\r\n" % (len(whole), whole)
        self._transport.write(stream_opening() + token_chunk(0, 0) + token_chunk(1, 0, is_last=True) + end)


async def test_an_end_that_says_the_whole_answer_once_more_is_no_more_tokens() -> None:
    async with _running(_Repeating) as gateway:
        measured = await generate(replace(_load(gateway, Wish(2, 0), streams=1), end=DISPATCH_END))

    assert (measured.errors, measured.completed > 0) == ({}, True)


async def test_a_gateway_that_drops_tokens_is_found_out() -> None:
    async with _running(_Dropping) as gateway:
        measured = await generate(_load(gateway, Wish(3, 0), streams=1))

    assert measured.completed == 0
    assert "lost or out of order" in measured.errors
