"""What a request needed is given back when it is over, whichever way it ends: nothing waits for the collector."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from shared.http import HttpClient, HttpFailure
from shared.http.response import Response
from tests.unit.shared.http.asking import post
from tests.unit.shared.http.server import OK, Server, says_nothing, sends

REPLIES = {
    "answered": (sends(OK), 5.0),
    "broken before the head": (sends(b"", then_closes=True), 5.0),
    "broken in the body": (sends(OK[:-1], then_closes=True), 5.0),
    "malformed": (sends(b"no HTTP\r\n\r\n"), 5.0),
    "too late": (says_nothing, 0.05),
}


@pytest.fixture
def collector() -> Iterator[None]:
    """The collector stays away while the test runs."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("name", REPLIES)
async def test_no_response_outlives_its_request(client: HttpClient, server: Server, name: str) -> None:
    server.reply, seconds = REPLIES[name]

    for _ in range(5):
        with suppress(HttpFailure):
            await post(client, server.peer, body=b"x" * 2000, seconds=seconds)
    await asyncio.sleep(0.02)

    assert [each for each in gc.get_objects() if isinstance(each, Response)] == []
