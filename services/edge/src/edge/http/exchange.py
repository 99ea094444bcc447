"""One request and its answer on a connection, past ASGI's messages where all is in memory anyway.

uvicorn sends head and body apart (two system calls and packets), checks each header by two regular expressions and
waits for a body that is mostly there: a fifth of what an answer costs the edge.
"""

import asyncio
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from edge.http.response import Header
from shared.errors import Malformed

EXTENSION = "peanut.exchange"
"""Where an `Exchange` stands among the extensions of the ASGI scope."""


class HeaderWithLineEnd(ValueError):
    """A header of ours holds a line end: a mistake that would let an answer be split."""


class ClientLeft(Malformed):
    """The client has closed the connection before it had its answer; this is answered to nobody."""

    reason = "client-left"


class Exchange:
    """What uvicorn's cycle of a request knows and does. `waited_for` are those of the connection that end with it."""

    def __init__(self, cycle: RequestResponseCycle, waited_for: "set[Exchange]") -> None:
        self._cycle = cycle
        self._waited_for = waited_for
        self._task: asyncio.Task[Any] | None = None
        self._is_left = False

    def whole_body(self) -> bytes | None:
        """The request's body if all of it has arrived."""
        return None if self._cycle.more_body else bytes(self._cycle.body)

    @contextmanager
    def while_client_waits(self) -> Iterator[None]:
        """Cancels the block when the client leaves; raises ClientLeft then, and at once when it has left before."""
        if self._cycle.transport.is_closing():
            raise ClientLeft("The client has left.")
        self._cycle.flow.resume_reading()  # who does not read, as behind a large body, hears of no end
        self._task = asyncio.current_task()
        self._waited_for.add(self)
        try:
            yield
        except asyncio.CancelledError:
            if self._is_left and self._task is not None and not self._task.uncancel():
                raise ClientLeft("The client has left.") from None
            raise  # the server stops
        finally:
            self._waited_for.discard(self)
            self._task = None

    def leave(self) -> None:
        """The connection is lost."""
        self._is_left = self._cycle.disconnected = True
        if self._task is not None:
            self._task.cancel()

    async def answer(self, status: int, common: bytes, headers: Sequence[Header], body: bytes) -> None:
        """Writes the answer at once and ends the exchange. `common` is a block of `header_lines`."""
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        own = header_lines((*cycle.default_headers, *headers))
        closing = b"" if cycle.keep_alive else b"connection: close\r\n"
        head = b"".join((STATUS_LINE[status], common, own, closing, b"\r\n"))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.transport.write(head if cycle.scope["method"] == "HEAD" else head + body)
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()


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
