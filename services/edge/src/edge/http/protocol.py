"""uvicorn's HTTP protocol with bounds: by itself it takes 16 MB of headers, endless trailers, and waits for ever."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge.http.connections import Connections
from edge.http.exchange import EXTENSION, Exchange, header_lines
from edge.http.problems import problem
from edge.http.response import Header
from shared.errors import Malformed, PlatformError
from shared.ids import new_id

MAX_HEADER_BYTES = 16 * 1024
HEADERS_WITHIN_S = 10.0
LINGER_S = 2.0
LINGER_BYTES = 16 * 1024 * 1024
"""A client that still sends is cut off only after this: a reset would take the answer from it (RFC 9112, 9.6)."""
MAX_WAITING_REQUESTS = 8
"""Requests sent ahead that are read while one is worked on: uvicorn stops at the first, and then hears of no end."""
MAX_FRAMING_BYTES = 64 * 1024
"""Chunk sizes and trailers: more than this, beyond eight bytes for each of the body, carries nothing."""


class MalformedHttp(Malformed):
    """The bytes are not an HTTP request."""

    reason = "malformed-http"


class NoUpgrade(Malformed):
    """Another protocol is asked for; reading on as if it were HTTP is how requests are smuggled."""

    reason = "no-upgrade"


class HeadTooLarge(Malformed):
    """More header bytes than any client needs."""

    reason = "headers-too-large"


class HeadTooSlow(Malformed):
    """The client sends its headers so slowly that it holds a connection for nothing."""

    reason = "headers-too-slow"


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. A head has 16 KiB and 10 s; what follows an answer is read for 2 s and 16 MiB at most."""

    def __init__(self, admission: Connections, policy: Sequence[Header], **options: Any) -> None:
        super().__init__(**options)
        self._admission = admission
        self._policy = policy
        self._peer = ""
        self._deaf = False
        self._head_is_open = False
        self._heads = 0
        self._head_bytes = 0
        self._newest = 0
        self._arrived = 0
        self._body_bytes = 0
        self._framing_bytes = 0
        self._body_bytes_at_answer = 0
        self._message_is_open = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._waited_for: set[Exchange] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Gives the first request its time."""
        super().connection_made(transport)  # type: ignore[arg-type]  # a TCP server's transport is a full one
        self._peer = self.client[0] if self.client else ""
        if self._admission.admit(self._peer):
            self._start_timer()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is awaited. A client that only sends no more has left as well: most who leave say no more."""
        for exchange in tuple(self._waited_for):
            exchange.leave()
        self._admission.forget(self._peer)
        self._stop_timer()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads on, unless this connection is about to end; then looks whether what is open may stay open."""
        if self._deaf or self.transport.is_closing():
            return
        heads, body_bytes = self._heads, self._body_bytes
        self._newest = len(data)
        self._arrived += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_is_open:
            self._head_bytes = self._head_bytes + len(data) if heads == self._heads else 0
            self._require_small_head(self._head_bytes)
            self._start_timer()
        elif self._message_is_open:
            self._framing_bytes += len(data) - (self._body_bytes - body_bytes) if heads == self._heads else 0
            if self._is_endless():
                self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_is_open = True
        self._message_is_open = True
        self._body_bytes = self._framing_bytes = self._body_bytes_at_answer = 0

    def on_headers_complete(self) -> None:
        """The head is whole; only now it becomes a request."""
        self._head_is_open = False
        self._heads += 1
        self._head_bytes = 0
        self._stop_timer()
        if self._arrived > MAX_HEADER_BYTES:  # otherwise it cannot be larger, and the usual request saves the sum
            self._require_small_head(len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers))
        self._arrived = self._newest
        if self._deaf:
            raise httptools.HttpParserError("refused")
        if self.parser.should_upgrade():
            self._ignore_what_follows()
        super().on_headers_complete()
        self.headers = []  # takes the trailers: nobody asks for those, and uvicorn would add them to the headers
        self.cycle.scope["extensions"] = {EXTENSION: Exchange(self.cycle, self._waited_for)}  # type: ignore[dict-item]  # may be anything
        if self._deaf:
            self.cycle.keep_alive = False
        if 0 < len(self.pipeline) < MAX_WAITING_REQUESTS:
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        """Hands a piece of the body on."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._message_is_open = False
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Reads on a little when a request was answered before it was whole, so that its client can read the answer."""
        if self._deaf:
            self.transport.close()
        elif self._message_is_open:
            self._body_bytes_at_answer = self._body_bytes
            self._linger_timer = self.loop.call_later(LINGER_S, self.transport.close)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser could not make a request of the bytes."""
        if not self._deaf:
            self._refuse(HTTPStatus.BAD_REQUEST, MalformedHttp("This is not an HTTP request."))

    def _is_endless(self) -> bool:
        answered = self._linger_timer is not None
        too_much_body = answered and self._body_bytes - self._body_bytes_at_answer > LINGER_BYTES
        return too_much_body or self._framing_bytes > MAX_FRAMING_BYTES + 8 * self._body_bytes

    def _ignore_what_follows(self) -> None:
        """An Upgrade may be ignored (RFC 9110 section 7.8), but not when it hides where the request ends."""
        lengths = {b"content-length", b"transfer-encoding"}
        if self.parser.get_method() == b"CONNECT" or any(name in lengths for name, _ in self.headers):
            self._refuse(HTTPStatus.BAD_REQUEST, NoUpgrade("Send this without CONNECT and without Upgrade."))
            raise httptools.HttpParserError("refused")
        self._deaf = True
        self._message_is_open = False

    def _require_small_head(self, size: int) -> None:
        if size > MAX_HEADER_BYTES:
            error = HeadTooLarge("The request line and headers are larger than 16 KiB.")
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, error)

    def _too_slow(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, HeadTooSlow("The headers did not arrive within 10 s."))

    def _refuse(self, status: HTTPStatus, error: PlatformError) -> None:
        """Answers outside uvicorn's cycle, and closes; but what is being worked on gets its answer, as the last one."""
        self._deaf = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self.pipeline.clear()
            return
        request_id = new_id()
        answer = problem(error, request_id=request_id, status=status)
        own = ((b"connection", b"close"), (b"x-request-id", request_id.encode()))
        headers = header_lines((*self._policy, *answer.all_headers(), *own))
        self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, status.phrase.encode(), headers) + answer.body)
        self.transport.close()

    def _start_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEADERS_WITHIN_S, self._too_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
