"""One connection: sends one request at a time and parses its answer, strictly and within bounds."""

import asyncio
import socket
import ssl
from typing import Protocol, cast

from httptools import HttpParserError, HttpResponseParser

from shared.http.errors import AnswerMalformed, ConnectionBroken, HttpFailure, NoAnswerInTime
from shared.http.peer import Peer
from shared.http.response import Response

MAX_OVERHEAD_BYTES = 64 * 1024
"""What is not body: heads, chunk sizes and extensions, trailers. Each byte of the body may have eight more."""
MAX_INTERIM_ANSWERS = 16
HIGH_WATER_BYTES = 16 * 1024
"""So much waits to be read before the server is kept from sending more; what one system call reads comes on top."""
MAX_IDLE_S = 60.0
RECEIVE_BUFFER_BYTES = 24 * 1024
"""What the system takes of an answer before it is read; Linux doubles it."""


class Owner(Protocol):
    """Whom a connection tells what has become of it."""

    def freed(self, connection: "Connection") -> None:
        """It may be used again."""
        ...

    def lost(self, connection: "Connection") -> None:
        """It is closed."""
        ...


class Connection(asyncio.Protocol):
    """A connection to `peer`. It is free after a whole answer with an unmistakable end, and only then."""

    __slots__ = (
        "_body_bytes",
        "_headers",
        "_in_body",
        "_interim_answers",
        "_is_paused",
        "_is_whole",
        "_loop",
        "_owner",
        "_parser",
        "_received_bytes",
        "_response",
        "_stays_open",
        "_timer",
        "_transport",
        "idle_until",
        "peer",
    )

    def __init__(self, peer: Peer, owner: Owner) -> None:
        self.peer = peer
        self.idle_until = 0.0
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._response: Response | None = None
        self._is_paused = False

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return not self._transport.is_closing()

    def ask(self, request: bytes, until: float) -> Response:
        """Sends a request. Its response fails when it is not whole at `until`, a time of the loop's clock."""
        self._headers: dict[bytes, bytes] = {}
        self._received_bytes = self._body_bytes = self._interim_answers = 0
        self._in_body = self._is_whole = self._stays_open = False
        self._response = response = Response(self)
        self._timer = self._loop.call_at(until, self._expire)
        self._transport.write(request)
        return response

    def abort(self) -> None:
        """Closes it at once."""
        self._transport.abort()

    def abandon(self) -> None:
        """Closes it at once: nobody wants the rest of the answer."""
        self._part()
        self.abort()

    def resume(self) -> None:
        """Goes on reading, if it had stopped because nobody took what had arrived."""
        if self._is_paused and self.is_open:
            self._is_paused = False
            self._transport.resume_reading()

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast(asyncio.Transport, transport)
        # The kernel would let it grow to megabytes: tokens would be old when they are read, and a hundred streams
        # that bring 256 KB each (what uvloop reads at once) keep the loop from everything else for a second.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Parses what has arrived."""
        if self._response is None or self._parser is None:
            self.abort()  # nobody has asked: whatever this is, the next answer could be mistaken for it
            return
        self._received_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._stays_open = False
            if not self._is_whole:  # bytes after an answer cost the connection only
                self._fail(AnswerMalformed(str(error.__context__ or error)))
                return
        if self._received_bytes - self._body_bytes > MAX_OVERHEAD_BYTES + 8 * self._body_bytes:
            self._fail(AnswerMalformed("there is too much around the body"))
        elif self._is_whole:
            self._finish()
        elif self._response.held > HIGH_WATER_BYTES and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The server sends no more, which ends a body of unknown size (RFC 9112 section 6.3); closes the connection.

        Over TLS the server has to say so itself: otherwise anyone on the way may have cut off the rest (section 9.8).
        """
        is_end = self._response is not None and self._in_body and _ends_with_connection(self._headers)
        if is_end and _has_said_goodbye(self._transport):
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        if self._response is not None:
            self._fail(ConnectionBroken("the connection ended before the answer did"))
        self._parser = None  # each knows the other: freed now instead of by the collector
        self._owner.lost(self)

    # What the parser says. Raising stops it.

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._is_whole:
            raise HttpParserError("an answer that nobody has asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header. Trailers are dropped: nobody asks for them."""
        if self._in_body:
            return
        name = name.lower()
        others = self._headers.get(name)
        self._headers[name] = value if others is None else others + b", " + value

    def on_headers_complete(self) -> None:
        """A head is whole: the answer's, or that of an interim one, which is skipped."""
        assert self._response is not None
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status >= 200:
            _require_clear_framing(self._parser.get_http_version(), self._headers)
            self._in_body = True
            self._response.begin(status, self._headers)
            return
        self._interim_answers += 1
        if status < 100 or status == _SWITCHING_PROTOCOLS or self._interim_answers > MAX_INTERIM_ANSWERS:
            raise HttpParserError(f"the status {status} instead of an answer")

    def on_body(self, piece: bytes) -> None:
        """A piece of the body has arrived."""
        assert self._response is not None
        self._body_bytes += len(piece)
        self._response.add(piece)

    def on_message_complete(self) -> None:
        """An answer is whole, or an interim one is over."""
        assert self._parser is not None
        if self._in_body:
            self._is_whole = True
            self._stays_open = self._parser.should_keep_alive()
        else:
            self._headers = {}

    def _finish(self) -> None:
        response = self._part()
        response.end()
        # A server that answers before it has read the request might take the rest of it for the next one.
        is_free = self._stays_open and self.is_open and self._transport.get_write_buffer_size() == 0
        idle_s = _idle_s(self._headers.get(b"keep-alive")) if is_free else 0.0
        if idle_s > 0:
            self.resume()
            self.idle_until = self._loop.time() + idle_s
            self._owner.freed(self)
        else:
            self.abort()

    def _expire(self) -> None:
        self._fail(NoAnswerInTime("the answer was not whole in time"))

    def _fail(self, failure: HttpFailure) -> None:
        self._part().fail(failure)
        self.abort()

    def _part(self) -> Response:
        response = self._response
        assert response is not None
        self._response = None
        self._timer.cancel()
        return response


_SWITCHING_PROTOCOLS = 101


def _require_clear_framing(version: str, headers: dict[bytes, bytes]) -> None:
    """Refuses what others could read differently (RFC 9112 section 6.1); the parser has refused the rest."""
    if version not in ("1.1", "1.0"):
        raise HttpParserError(f"HTTP/{version}")
    coding = headers.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
        raise HttpParserError("a transfer coding that was not asked for")


def _ends_with_connection(headers: dict[bytes, bytes]) -> bool:
    return b"content-length" not in headers and b"transfer-encoding" not in headers


def _has_said_goodbye(transport: asyncio.Transport) -> bool:
    """Whether a TLS server has sent close_notify, which reading on tells; without TLS there is none to wait for."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return tls.read(1) == b""
    except ssl.SSLError:
        return False


def _idle_s(keep_alive: bytes | None) -> float:
    """How long a connection may be idle: a second less than the server says in `Keep-Alive: timeout=N`, if it does."""
    if keep_alive is not None:
        for parameter in keep_alive.split(b","):
            name, _, value = parameter.partition(b"=")
            seconds = value.strip()
            if name.strip().lower() == b"timeout" and seconds.isdigit() and len(seconds) < 9:
                return min(MAX_IDLE_S, int(seconds) - 1.0)
    return MAX_IDLE_S
