"""An upstream that keeps its callers waiting, and notes when each of them goes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from tests.integration.orchestrator.upstreams import OPENAI_ANSWER, OPENAI_MODELS


@dataclass
class Holding:
    """Answers probes at once, and chats when `release` is called; with `head_first`, their heads at once."""

    port: int = 0
    head_first: bool = False
    begun: int = 0
    left: list[float] = field(default_factory=list)
    """When a caller closed its connection before it had its answer, by the monotonic clock."""
    held: "list[_Connection]" = field(default_factory=list)
    connections: "set[_Connection]" = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def release(self) -> None:
        """Answers all who wait."""
        held, self.held = self.held, []
        for connection in held:
            connection.answer(OPENAI_ANSWER)


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: Holding) -> None:
        self._upstream = upstream
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._upstream.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _content_length(head):
            return
        self._received = b""
        if head.startswith(b"GET"):
            self.answer(OPENAI_MODELS)
            return
        self._upstream.begun += 1
        self._upstream.held.append(self)
        if self._upstream.head_first:
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{")

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.connections.discard(self)
        if self in self._upstream.held:
            self._upstream.held.remove(self)
            self._upstream.left.append(time.monotonic())

    def answer(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


@asynccontextmanager
async def holding(port: int = 0) -> AsyncIterator[Holding]:
    """One that listens on the loopback address."""
    upstream = Holding()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(upstream), "127.0.0.1", port)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for connection in upstream.connections:
            connection.transport.abort()
        await asyncio.sleep(0)  # in which they end
