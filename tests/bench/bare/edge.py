"""The bare edge: plain ASGI, one key, every POST goes to the worker and its reply back."""

import hashlib
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from nats.aio.client import Client

from tests.bench.bare.process import announce_ready, connect, run
from tests.bench.bare.worker import DISPATCH

Message = MutableMapping[str, Any]  # as ASGI has it
_TIMEOUT_S = 15


class Edge:
    """The ASGI application."""

    def __init__(self, bus: Client, api_key: str) -> None:
        self._bus = bus
        self._principals = {hashlib.sha256(api_key.encode()).digest(): "bench"}

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if self._principal(scope) is None:
            await _answer(send, 401, b'{"status":401}')
            return
        message = await receive()
        body: bytes = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        reply = await self._bus.request(DISPATCH, body, timeout=_TIMEOUT_S)
        await _answer(send, 200, reply.data)

    def _principal(self, scope: Message) -> str | None:
        for name, value in scope["headers"]:
            if name == b"authorization":
                return self._principals.get(hashlib.sha256(value.removeprefix(b"Bearer ")).digest())
        return None


async def _answer(send: Callable[[Message], Awaitable[None]], status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        announce_ready()


async def main() -> None:
    nats_url, port, api_key = sys.argv[1:]
    bus = await connect(nats_url)
    config = uvicorn.Config(
        Edge(bus, api_key),
        port=int(port),
        http="httptools",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
    )
    await _Server(config).serve()
    await bus.close()


if __name__ == "__main__":
    run(main)
