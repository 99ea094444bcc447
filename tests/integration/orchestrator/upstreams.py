"""HTTP upstreams that behave, and many that do not; written on bare asyncio so that they can break every rule."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.integration.orchestrator.anthropic_like import AnthropicLike
from tests.integration.orchestrator.ollama_like import OllamaLike

OPENAI_ANSWER = {
    "id": "chatcmpl-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Good day."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}
OLLAMA_ANSWER = {
    "model": "m",
    "message": {"role": "assistant", "content": "Good day."},
    "done": True,
    "prompt_eval_count": 9,
    "eval_count": 3,
}
OPENAI_EMBEDDINGS = {
    "object": "list",
    "data": [{"object": "embedding", "index": index, "embedding": [index, 0.5]} for index in (1, 0)],
    "model": "m",
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}
OPENAI_MODELS = {"object": "list", "data": [{"id": "m", "object": "model"}]}
OLLAMA_MODELS = {"models": [{"name": "m", "model": "m"}]}


@dataclass
class Request:
    """A request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Upstream:
    """A server whose answers tests choose; `probe` and `chat` write them. Without a port it is closed."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    probe: Reply | None = None
    chat: Reply | None = None
    anthropic: AnthropicLike = field(default_factory=AnthropicLike)
    ollama: OllamaLike | None = None
    """Answers in place of OLLAMA_ANSWER, where it is set."""
    connections: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[Request]:
        return [request for request in self.requests if request.line.startswith("POST")]

    @property
    def probes(self) -> list[Request]:
        return [request for request in self.requests if request.line.startswith("GET")]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                request = await _request(reader)
                self.requests.append(request)
                await self._reply(request)(writer)
                await writer.drain()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    def _reply(self, request: Request) -> Reply:
        method, path, _ = request.line.split()
        return self._probed(path, request) if method == "GET" else self._asked(path, request)

    def _probed(self, path: str, request: Request) -> Reply:
        known = {"/api/tags": OLLAMA_MODELS, "/v1/models": OPENAI_MODELS, "/some/base/models": OPENAI_MODELS}
        if path in known:
            return self.probe or json_reply(known[path])
        if path.startswith("/v1/models?"):
            return self.probe or json_answer(*self.anthropic.list_models(path, request.headers))
        return NO_SUCH_ROUTE

    def _asked(self, path: str, request: Request) -> Reply:
        if path == "/api/chat" and self.ollama is not None:
            answer, lines = self.ollama.chat(request.body)
            return self.chat or (json_lines(*lines) if lines else json_answer(*answer))
        if path == "/api/embed" and self.ollama is not None:
            return self.chat or json_answer(*self.ollama.embed(request.body))
        if path.startswith("/v1/messages"):
            message, events = self.anthropic.events(path, request.headers, request.body)
            return self.chat or (events_reply(*events) if events else json_answer(*message))
        answers: dict[str, object] = {"/api/chat": OLLAMA_ANSWER}
        for base in ("/v1", "/some/base"):
            answers |= {f"{base}/chat/completions": OPENAI_ANSWER, f"{base}/embeddings": OPENAI_EMBEDDINGS}
        return (self.chat or json_reply(answers[path])) if path in answers else NO_SUCH_ROUTE


async def _request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(head[0], headers, body)


def reply(body: bytes, *, status: str = "200 OK", headers: str = "content-type: application/json\r\n") -> Reply:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body)

    return write


NO_SUCH_ROUTE = reply(b"no such route", status="404 Not Found")


def json_reply(body: object, *, status: str = "200 OK") -> Reply:
    return reply(json.dumps(body).encode(), status=status)


def json_answer(status: int, body: object) -> Reply:
    return json_reply(body, status=f"{status} As It Is")


def streams(*pieces: bytes, type: str = "text/event-stream", ends: bool = True, gap_s: float = 0) -> Reply:
    """A chunked answer, each piece a chunk of its own; without its end, the connection closes before that."""

    async def write(writer: asyncio.StreamWriter) -> None:
        await begins(*pieces, type=type, gap_s=gap_s)(writer)
        if ends:
            writer.write(b"0\r\n\r\n")
        else:
            writer.close()

    return write


def begins(*pieces: bytes, type: str = "text/event-stream", gap_s: float = 0) -> Reply:
    """The same without any end."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: {type}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(gap_s)

    return write


def event(data: object) -> bytes:
    """An event as OpenAI's API sends them."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def events_reply(*events: dict[str, Any]) -> Reply:
    """Events as Anthropic's API sends them."""
    return streams(*(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events))


def json_lines(*lines: object) -> Reply:
    return streams(*(json.dumps(line).encode() + b"\n" for line in lines), type="application/x-ndjson")


def redirect(to: str) -> Reply:
    return reply(b"", status="302 Found", headers=f"location: {to}\r\n")


def after(gate: asyncio.Event, then: Reply) -> Reply:
    """The same reply, once the gate is open."""

    async def write(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await then(writer)

    return write


async def hangs(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def closes_at_once(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def closes_mid_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"message": ')
    await writer.drain()
    writer.close()


async def drips(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(600):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.1)


async def one_gigabyte(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
    for _ in range(1024):
        writer.write(b" " * 1024 * 1024)
        await writer.drain()


async def endless_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def no_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")
    await writer.drain()
    writer.close()


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    """An upstream that listens on the loopback address."""
    server_state = Upstream()
    server = await asyncio.start_server(server_state.serve, "127.0.0.1", 0)
    server_state.port = server.sockets[0].getsockname()[1]
    try:
        yield server_state
    finally:
        server.close()
