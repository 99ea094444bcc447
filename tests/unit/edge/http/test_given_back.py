"""What a request needed is given back when it is answered, and does not wait for the collector, which seldom comes."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from edge.http.exchange import Exchange
from edge.http.request import Request
from edge.http.response import Response
from shared.errors import Unavailable
from tests.unit.edge.http.serving import edge

REQUESTS = 20


@pytest.fixture
def collector() -> Iterator[None]:
    """The collector stays away while the test runs."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def answered(request: Request) -> Response:
    return Response(200, b"{}")


async def refused(request: Request) -> Response:
    raise Unavailable("Not now.")


def kept() -> int:
    return sum(isinstance(each, Exchange | Request) for each in gc.get_objects())


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("handler", [answered, refused])
async def test_no_exchange_outlives_its_answer(handler: object) -> None:
    before = kept()  # by other tests
    async with edge(handler) as port:  # type: ignore[arg-type]  # parametrize forgets types
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(REQUESTS):
            writer.write(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        await asyncio.sleep(0.01)

        left = kept()
        writer.close()

    assert left <= before + 2  # those of the connection's last request
