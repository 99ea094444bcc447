"""Streamed answers of the fake provider: what goes over the wire, and when."""

import asyncio
import json
import re
import time

from tests.bench.tokens import UNTIL_TOLD, Wish, token

MODEL = "bench"
USAGE = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
_AT_ONCE = 25
"""Tokens of a stream flat out that leave together: a system call for each would be most of the machine's work."""


def _http_chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def _event(choices: list[dict[str, object]], **more: object) -> bytes:
    chunk = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL}
    return b"data: " + json.dumps(chunk | {"choices": choices} | more, separators=(",", ":")).encode() + b"\n\n"


_ASKS = re.compile(rb'"stream"\s*:\s*true')
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_OPENING = _http_chunk(_event([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]))
_BEFORE_TOKEN, _AFTER_TOKEN = _event([{"index": 0, "delta": {"content": "TOKEN"}, "finish_reason": None}]).split(
    b"TOKEN"
)
_STOP = _http_chunk(_event([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
_USAGE_CHUNK = _http_chunk(_event([], usage=USAGE))
_END = _http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def asks_for_stream(request: bytes) -> bool:
    """Whether the answer to this request is to be a stream."""
    return _ASKS.search(request) is not None


def token_chunk(number: int, sent_ns: int, *, is_last: bool = False) -> bytes:
    """A token as it goes over the wire: an event in an HTTP chunk of its own."""
    return _http_chunk(b"%b%b%b" % (_BEFORE_TOKEN, token(number, sent_ns, is_last=is_last), _AFTER_TOKEN))


def stream_opening() -> bytes:
    """What comes before the first token."""
    return _HEAD + _OPENING


class Stream:
    """The answer to one request, token by token."""

    def __init__(self, transport: asyncio.Transport, wish: Wish, streams: "set[Stream]", *, has_usage: bool) -> None:
        self._transport = transport
        self._wish = wish
        self._streams = streams
        self._has_usage = has_usage
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._sent = 0
        self._is_paused = False
        self._next: asyncio.Handle | None = None

    def begin(self) -> None:
        """Send what comes first."""
        self._streams.add(self)
        self._transport.write(stream_opening())
        self._send()

    def finish(self) -> None:
        """Send the last token now."""
        if self._next is not None:
            self._next.cancel()
        self._end()

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        """The reader has caught up."""
        self._is_paused = False
        if self in self._streams and self._next is None:
            self._send()

    def abandon(self) -> None:
        """The reader has left."""
        self._streams.discard(self)
        if self._next is not None:
            self._next.cancel()

    def _send(self) -> None:
        self._next = None
        left = self._wish.tokens - 1 - self._sent if self._wish.tokens != UNTIL_TOLD else _AT_ONCE
        if left <= 0:
            self._end()
            return
        if self._wish.every_ms:
            self._write(1)
            # By the clock of its beginning: a late token does not put off those after it.
            self._next = self._loop.call_at(self._began + self._sent * self._wish.every_ms / 1000, self._send)
        else:
            self._write(min(left, _AT_ONCE))
            if not self._is_paused:
                self._next = self._loop.call_soon(self._send)

    def _write(self, count: int) -> None:
        now = time.monotonic_ns()
        self._transport.write(b"".join([token_chunk(self._sent + each, now) for each in range(count)]))
        self._sent += count

    def _end(self) -> None:
        self._streams.discard(self)
        last = token_chunk(self._sent, time.monotonic_ns(), is_last=True)
        self._transport.write(last + _STOP + (_USAGE_CHUNK if self._has_usage else b"") + _END)
