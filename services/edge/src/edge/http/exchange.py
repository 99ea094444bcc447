"""One request and its answer on a connection, past ASGI's messages where all is in memory anyway.

uvicorn sends head and body apart (two system calls and packets), checks each header by two regular expressions and
waits for a body that is mostly there: a fifth of what an answer costs the edge. So it is with each piece of a stream.
"""

import asyncio
import socket
import struct
from collections.abc import MutableMapping, Sequence
from types import TracebackType
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from edge.http.response import COMMENT, Header
from shared.errors import Malformed

EXTENSION = "peanut.exchange"
"""Where an `Exchange` stands among the extensions of the ASGI scope."""
KEEP_ALIVE_S = 15.0
"""A stream without news for so long says that it is alive: proxies give up after 30 or 60 s of silence."""
STALLED_AFTER_S = 30.0
"""How long a client may take to read what would make room for more; who reads nothing would hold an agent for ever."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER for a connection that is not closed but reset."""


class HeaderWithLineEnd(ValueError):
    """A header of ours holds a line end: a mistake that would let an answer be split."""


class ClientLeft(Malformed):
    """The client has closed the connection before it had its answer; this is answered to nobody."""

    reason = "client-left"


class ReaderStalled(ClientLeft):
    """The client has stopped reading its stream."""

    reason = "reader-stalled"


class Exchange:
    """What uvicorn's cycle of a request knows and does. `waited_for` are those of the connection that end with it."""

    def __init__(self, cycle: RequestResponseCycle, waited_for: "set[Exchange]") -> None:
        self._cycle = cycle
        self._waited_for = waited_for
        self._task: asyncio.Task[Any] | None = None
        self._is_left = False
        self._is_chunked = False
        self._written_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._comment = COMMENT

    def whole_body(self) -> bytes | None:
        """The request's body if all of it has arrived."""
        return None if self._cycle.more_body else bytes(self._cycle.body)

    def while_client_waits(self) -> "_WhileClientWaits":
        """Cancels the block when the client leaves; raises ClientLeft then, and at once when it has left before."""
        return _WhileClientWaits(self)

    def begin_waiting(self) -> None:
        """The current task ends when the client leaves; raises ClientLeft when it has left before."""
        if self._cycle.transport.is_closing():
            raise ClientLeft("The client has left.")
        self._cycle.flow.resume_reading()  # who does not read, as behind a large body, hears of no end
        self._task = asyncio.current_task()
        self._waited_for.add(self)

    def end_waiting(self, error: BaseException | None) -> None:
        """The task goes on for itself; raises ClientLeft where the client's leaving has cancelled it."""
        task, self._task = self._task, None
        self._waited_for.discard(self)
        if isinstance(error, asyncio.CancelledError) and self._is_left and task is not None and not task.uncancel():
            raise ClientLeft("The client has left.") from None  # otherwise the server stops

    def leave(self) -> None:
        """The connection is lost."""
        self._is_left = self._cycle.disconnected = True
        if self._task is not None:
            self._task.cancel()

    async def answer(self, status: int, common: bytes, headers: Sequence[Header], body: bytes) -> None:
        """Writes the answer in one go and ends the exchange. `common` is a block of `header_lines`."""
        # What else is ready goes first: answers are then written one after the other, and wake their readers once.
        await asyncio.sleep(0)
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        head = self._head(status, common, headers)
        cycle.response_started = True
        cycle.transport.write(head if cycle.scope["method"] == "HEAD" else head + body)
        self._complete()

    @property
    def has_begun(self) -> bool:
        """Whether a stream's head was written: nothing but its pieces can follow."""
        return bool(self._cycle.response_started)

    async def begin(
        self, status: int, common: bytes, headers: Sequence[Header], piece: bytes, *, comment: bytes = COMMENT
    ) -> bool:
        """Writes the head of a stream with its first piece; returns whether more is wanted, as it is not by HEAD.

        `comment` is written where there is no piece for KEEP_ALIVE_S; an empty one is not.
        """
        cycle = self._cycle
        if cycle.flow.write_paused:
            await self._make_room()
        self._is_chunked = cycle.scope["http_version"] == "1.1"
        if not self._is_chunked:
            cycle.keep_alive = False  # the connection's end is the stream's
        framing = [(b"transfer-encoding", b"chunked")] if self._is_chunked else []
        head = self._head(status, common, [*headers, *framing])
        cycle.response_started = True
        if cycle.scope["method"] == "HEAD":
            cycle.transport.write(head)
            self._complete()
            return False
        cycle.transport.write(head + self._framed(piece))
        loop = asyncio.get_running_loop()
        self._written_at = loop.time()
        self._comment = comment
        if comment:
            self._timer = loop.call_later(KEEP_ALIVE_S, self._keep_alive)
        if cycle.flow.write_paused:
            await self._make_room()
        return True

    async def go_on(self, piece: bytes) -> None:
        """Writes the next piece; returns when there is room for another. Raises ReaderStalled."""
        self._write(piece)
        if self._cycle.flow.write_paused:
            await self._make_room()

    def end(self, last: bytes = b"") -> None:
        """Ends a stream that has begun, after a last piece if there is one."""
        if self._timer is not None:
            self._timer.cancel()
        cycle = self._cycle
        if cycle.transport.is_closing():
            cycle.disconnected = True  # uvicorn hears of it a turn later, and would complain
        if cycle.disconnected or cycle.response_complete:
            return
        framed = self._framed(last) if last else b""
        cycle.transport.write(framed + b"0\r\n\r\n" if self._is_chunked else framed)
        self._complete()

    def break_off(self) -> None:
        """Breaks the connection of a stream that has begun, in a way that no client takes for its end.

        Without a last chunk that is so by itself; who speaks HTTP/1.0 needs the reset, or would see the usual end.
        """
        if self._timer is not None:
            self._timer.cancel()
        cycle = self._cycle
        if cycle.response_complete:  # a HEAD was answered
            return
        connection = cycle.transport.get_extra_info("socket")
        if connection is not None and not cycle.transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        cycle.transport.abort()
        cycle.disconnected = True

    def _head(self, status: int, common: bytes, headers: Sequence[Header]) -> bytes:
        own = header_lines((*self._cycle.default_headers, *headers))
        closing = b"" if self._cycle.keep_alive else b"connection: close\r\n"
        return b"".join((STATUS_LINE[status], common, own, closing, b"\r\n"))

    def _complete(self) -> None:
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

    def _framed(self, piece: bytes) -> bytes:
        if not self._is_chunked or not piece:  # a chunk of nothing would be the last one
            return piece
        return b"%x\r\n%b\r\n" % (len(piece), piece)

    def _write(self, piece: bytes) -> None:
        if self._cycle.transport.is_closing():
            raise ClientLeft("The client has left.")
        self._cycle.transport.write(self._framed(piece))
        self._written_at = asyncio.get_running_loop().time()

    async def _make_room(self) -> None:
        try:
            async with asyncio.timeout(STALLED_AFTER_S):
                await self._cycle.flow.drain()
        except TimeoutError:
            self._cycle.transport.abort()
            raise ReaderStalled("The client has stopped reading.") from None

    def _keep_alive(self) -> None:
        if self._cycle.transport.is_closing():
            return
        loop = asyncio.get_running_loop()
        quiet = loop.time() - self._written_at
        if quiet >= KEEP_ALIVE_S:
            quiet = 0.0
            if not self._cycle.flow.write_paused:
                self._write(self._comment)
        self._timer = loop.call_later(KEEP_ALIVE_S - quiet, self._keep_alive)


class _WhileClientWaits:
    """A class, as a generator with `contextmanager` takes longer, and every dispatch waits in one."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __enter__(self) -> None:
        self._exchange.begin_waiting()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange.end_waiting(error)


def header_lines(headers: Sequence[Header]) -> bytes:
    """The headers as they are sent; raises HeaderWithLineEnd."""
    block = b"".join([b"%b: %b\r\n" % header for header in headers])
    if block.count(b"\n") != len(headers):
        raise HeaderWithLineEnd
    return block


def exchange_of(scope: MutableMapping[str, Any]) -> Exchange:
    """The exchange of the request with this ASGI scope."""
    exchange: Exchange = scope["extensions"][EXTENSION]
    return exchange
