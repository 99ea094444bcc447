"""Bodies at the limit and far beyond it: refused in words, and never a failure of ours."""

import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.e2e.platform import Platform
from tests.e2e.sockets import exchange

MIB = 1024 * 1024
ROUTES = ("/api/v1/openclaw/dispatch", "/api/v1/agents", "/v1/chat/completions")
JSON = {"Content-Type": "application/json"}


def chat(path: str, size: int) -> bytes:
    """A good request of exactly that many bytes."""
    turns = [{"role": "user", "content": "x" * 90_000}] * 11
    wish = {"model": "auto", "messages": turns} if path.startswith("/v1") else {"message": "x", "context": turns}
    body = json.dumps(wish).encode()
    return body[:-1] + b" " * (size - len(body)) + body[-1:]


@pytest.mark.parametrize("path", ["/api/v1/openclaw/dispatch", "/v1/chat/completions"])
async def test_a_body_of_exactly_1_mib_is_worked_on(path: str, operator: httpx.AsyncClient) -> None:
    body = chat(path, MIB)

    answer = await operator.post(path, content=body, headers=JSON)

    assert len(body) == MIB
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("size", [MIB + 1, 10 * MIB])
@pytest.mark.parametrize("path", ROUTES)
async def test_a_larger_one_is_413_whatever_the_route(path: str, size: int, operator: httpx.AsyncClient) -> None:
    answer = await operator.post(path, content=b" " * (size - 2) + b"{}", headers=JSON)

    assert answer.status_code == 413, answer.text


@pytest.mark.parametrize("path", ROUTES)
async def test_so_is_one_that_does_not_say_how_large_it_is(path: str, operator: httpx.AsyncClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield b" " * MIB

    answer = await operator.post(path, content=_async(pieces()), headers=JSON)

    assert answer.status_code == 413, answer.text


async def test_10_mib_are_refused_by_their_announcement_alone(platform: Platform, operator_key: str) -> None:
    head = (
        f"POST /api/v1/openclaw/dispatch HTTP/1.1\r\nHost: localhost:{platform.port}\r\n"
        f"Authorization: Bearer {operator_key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {10 * MIB}\r\n\r\n"
    )

    answer = await exchange(platform, head.encode(), within=2)

    assert answer.startswith(b"HTTP/1.1 413 ")


async def _async(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
