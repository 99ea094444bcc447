"""uvicorn's HTTP protocol with bounds on headers: httptools takes 16 MB of them and waits for ever."""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge.http.problems import problem
from edge.http.response import Response
from edge.http.transport import JoiningTransport
from shared.errors import Malformed, PlatformError
from shared.ids import new_id

MAX_HEADER_BYTES = 16 * 1024
HEADERS_WITHIN_S = 10.0


class MalformedHttp(Malformed):
    """The bytes are not an HTTP request."""

    reason = "malformed-http"


class HeadTooLarge(Malformed):
    """More header bytes than any client needs."""

    reason = "headers-too-large"


class HeadTooSlow(Malformed):
    """The client sends its headers so slowly that it holds a connection for nothing."""

    reason = "headers-too-slow"


_TOO_LARGE = "The request line and headers are larger than 16 KiB."


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 431 to more than 16 KiB of request line and headers, and 408 to those that take longer than 10 s."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Gives the first request its time."""
        super().connection_made(JoiningTransport(transport, self.loop))  # type: ignore[arg-type]  # is one by its methods
        self._head_timer = self.loop.call_later(HEADERS_WITHIN_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is awaited."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts the bytes that belong to a head; a head that stays open gets a timer."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing() or not self._head_bytes:
            return  # no head is open
        if self._head_bytes > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HeadTooLarge(_TOO_LARGE))
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEADERS_WITHIN_S, self._too_slow)

    def on_headers_complete(self) -> None:
        """The head is whole; only now it becomes a request."""
        self._in_head = False
        self._stop_timer()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEADER_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HeadTooLarge(_TOO_LARGE))
            raise httptools.HttpParserError("headers too large")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes belong to another head."""
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        """The parser could not make a request of the bytes."""
        if not self.transport.is_closing():
            self._send(problem(MalformedHttp(msg), request_id=new_id()))

    def _too_slow(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, HeadTooSlow("The headers did not arrive within 10 s."))

    def _refuse(self, status: HTTPStatus, error: PlatformError) -> None:
        self._send(problem(error, request_id=new_id(), status=status))

    def _send(self, response: Response) -> None:
        head = (
            b"HTTP/1.1 %d \r\nconnection: close\r\ncontent-type: %s\r\ncontent-length: %d\r\n"
            b"x-content-type-options: nosniff\r\n\r\n"
        )
        self.transport.write(head % (response.status, response.content_type, len(response.body)) + response.body)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
