"""An upstream of OpenAI's API that streams what a test says, when the test says it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from tests.integration.orchestrator.upstreams import OPENAI_MODELS

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def chunk(text: str | None, finish_reason: str | None = None) -> bytes:
    """A chunk as OpenAI sends it."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return event({**_FIXED, "choices": [choice], "usage": None})


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


_FIXED = {"id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 1, "model": "m-2026"}
END = chunk(None, "stop") + event({**_FIXED, "choices": [], "usage": USAGE}) + b"data: [DONE]\n\n"


@dataclass(eq=False)
class Call(asyncio.Protocol):
    """One request, and what is answered to it."""

    upstream: "Speaking"
    request: Any = None
    has_begun: bool = False
    is_left: bool = False
    _received: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.upstream.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
        if not end or len(body) < length:
            return
        self._received = b""
        if head.startswith(b"GET"):
            models = json.dumps(OPENAI_MODELS).encode()
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(models), models))
            return
        self.request, self.has_begun = json.loads(body), False
        self.upstream.calls.append(self)
        if self.upstream.script is not None:
            self.send(self.upstream.script)
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        self.upstream.connections.discard(self)
        self.is_left = True
        self.upstream.left.append(time.monotonic())

    def send(self, *events: bytes) -> None:
        """In one chunk of HTTP."""
        data = b"".join(events)
        head = b"" if self.has_begun else b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n" + _CHUNKED
        self.has_begun = True
        self.transport.write(head + b"%x\r\n%b\r\n" % (len(data), data))

    def say(self, *texts: str) -> None:
        self.send(*(chunk(text) for text in texts))

    def end(self) -> None:
        self.transport.write(b"0\r\n\r\n")

    def finish(self) -> None:
        self.send(END)
        self.end()

    def break_off(self) -> None:
        self.transport.close()

    def fail(self, status: bytes = b"500 Oops") -> None:
        self.transport.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % status)


_CHUNKED = b"transfer-encoding: chunked\r\n\r\n"


@dataclass
class Speaking:
    """The server. With a `script` it answers each chat with it by itself."""

    port: int = 0
    script: bytes | None = None
    calls: list[Call] = field(default_factory=list)
    left: list[float] = field(default_factory=list)
    connections: set[Call] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def speaking(port: int = 0) -> AsyncIterator[Speaking]:
    """One that listens on the loopback address."""
    upstream = Speaking()
    server = await asyncio.get_running_loop().create_server(lambda: Call(upstream), "127.0.0.1", port)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for connection in tuple(upstream.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # in which they end
