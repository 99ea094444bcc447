"""What every answer says to browsers, also where the bytes were no request; on real sockets."""

import asyncio

import pytest

from edge.http import protocol
from edge.http.request import Request
from edge.http.response import Response
from tests.unit.edge.http.serving import edge

HSTS = "max-age=31536000; includeSubDomains"


async def _answer(_request: Request) -> Response:
    return Response(200, b"{}")


async def _headers(port: int, data: bytes) -> tuple[int, dict[str, str]]:
    """The status and the headers of the answer to these bytes, after which the edge closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    status, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert len(headers) == len(lines)
    assert int(headers["content-length"]) == len(body)
    return int(status.split(" ")[1]), headers


REQUESTS = [
    pytest.param(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200, id="a request"),
    pytest.param(b"GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421, id="another host"),
    pytest.param(b"GARBAGE\r\n\r\n", 400, id="no request"),
    pytest.param(b"CONNECT /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="an upgrade"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", 408, id="half a head"),
    pytest.param(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, id="a large head"),
]


@pytest.mark.asvs("3.4.1", "3.4.3", "3.4.4", "3.4.5", "3.4.6")
@pytest.mark.parametrize(("data", "status"), REQUESTS)
async def test_every_answer_has_the_same_policies(data: bytes, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADERS_WITHIN_S", 0.2)

    async with edge(_answer, public_url="https://peanut.example") as port:
        answered, headers = await _headers(port, data)

    assert answered == status
    assert headers["strict-transport-security"] == HSTS
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert headers["connection"] == "close"
    assert headers["x-request-id"]


@pytest.mark.parametrize(("data", "status"), REQUESTS)
async def test_an_edge_without_tls_asks_for_none(data: bytes, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEADERS_WITHIN_S", 0.2)

    async with edge(_answer) as port:
        answered, headers = await _headers(port, data)

    assert answered == status
    assert "strict-transport-security" not in headers
