"""A model provider that answers at once: OpenAI's and Ollama's routes from precomputed bytes, in its own process.

A chat that asks for a stream and whose message is a `Wish` is answered by numbered tokens, paced or flat out.
"""

import asyncio
import json
import socket
from typing import cast

import uvloop

from tests.bench.tokens import Wish
from tests.bench.upstream_streams import MODEL, USAGE, Stream, asks_for_stream

ANSWER = "All quiet on the bench today."


async def serve() -> None:
    """Listen on a free port of the loopback address, print it on stdout as a line, and answer until killed."""
    streams: set[Stream] = set()
    server = await asyncio.get_running_loop().create_server(lambda: Provider(streams), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _response(status: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    return head.encode() + content


_MESSAGE = {"role": "assistant", "content": ANSWER}
_COMPLETION = {
    "id": "chatcmpl-bench",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": MODEL,
    "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}],
    "usage": USAGE,
}
_CHAT = {
    "model": MODEL,
    "created_at": "2026-01-01T00:00:00.000Z",
    "message": _MESSAGE,
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 9,
    "eval_count": 7,
}
_RESPONSES = {
    b"POST /v1/chat/completions": _response("200 OK", _COMPLETION),
    b"GET /v1/models": _response(
        "200 OK", {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "bench"}]}
    ),
    b"POST /api/chat": _response("200 OK", _CHAT),
    b"GET /api/tags": _response("200 OK", {"models": [{"name": MODEL, "model": MODEL}]}),
}
_NOT_FOUND = _response("404 Not Found", {"error": {"message": "no such route"}})
_SEND_BUFFER_BYTES = 32 * 1024
_FINISH = b"POST /finish"
_FINISHED = _response("200 OK", {})


class Provider(asyncio.Protocol):
    """One connection. Reads nothing of a request but its first line, its Content-Length and its wish."""

    _transport: asyncio.Transport
    _stream: Stream | None = None
    _held = b""

    def __init__(self, streams: set[Stream]) -> None:
        self._streams = streams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Left alone it grows to megabytes: tokens would wait in it for seconds while a stream is flat out.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            size = end + 4 + _content_length(data[:end])
            if len(data) < size:
                break
            self.answer(data[:size])
            data = data[size:]
        self._held = data

    def answer(self, request: bytes) -> None:
        """Answer one whole request."""
        wish = Wish.read(request)
        if wish is not None and asks_for_stream(request):
            self._stream = Stream(self._transport, wish, self._streams, has_usage=b'"include_usage"' in request)
            self._stream.begin()
        elif request.startswith(_FINISH):
            for stream in [*self._streams]:
                stream.finish()
            self._transport.write(_FINISHED)
        else:
            self._transport.write(_RESPONSES.get(request[: request.find(b" HTTP/1.1")], _NOT_FOUND))

    def pause_writing(self) -> None:
        if self._stream is not None:
            self._stream.pause()

    def resume_writing(self) -> None:
        if self._stream is not None:
            self._stream.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None:
            self._stream.abandon()


def _content_length(head: bytes) -> int:
    name = head.lower().find(b"\r\ncontent-length:")
    if name < 0:
        return 0
    start = name + len(b"\r\ncontent-length:")
    stop = head.find(b"\r\n", start)
    return int(head[start : stop if stop >= 0 else len(head)])


if __name__ == "__main__":
    uvloop.run(serve())
