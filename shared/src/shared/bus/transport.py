"""The connection under nats-py: what is heard goes to its hearer as soon as it is read, all else to nats-py.

nats-py reads through a stream, a task and regular expressions: two turns of the loop and some 15 µs for each message.
"""

import asyncio
import logging
from collections.abc import Callable
from urllib.parse import ParseResult

from nats.aio.transport import TcpTransport
from nats.errors import ProtocolError

from shared.errors import PlatformError

Hearer = Callable[[str, str, bytes, bytes], None]
"""Takes subject, reply subject, body and header block of a message, at once and without waiting for anything."""

Find = Callable[[int], Hearer | None]
"""The hearer of a subscription, by its number; None when its messages are nats-py's."""

_log = logging.getLogger(__name__)

_LINE_END = b"\r\n"


class NoTls(PlatformError):
    """The NATS server, or its address, asks for TLS, which this transport does not speak."""

    reason = "no-tls"


class BusTransport(TcpTransport):
    """nats-py's TCP transport with another reader in front of its own."""

    def __init__(self, find: Find) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nats-py leaves it bare
        self._find = find
        self._splitter: _Splitter | None = None

    @property
    def reads(self) -> int:
        """How often something was read of this connection."""
        return self._splitter.reads if self._splitter else 0

    def __bool__(self) -> bool:
        return True  # nats-py makes a transport of its own where this one is false, as its own is until connected

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Connects, as nats-py asks for it, to one server; raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(buffer_size)
        splitter = self._splitter = _Splitter(reader, self._find)
        connecting = loop.create_connection(lambda: splitter, str(uri.hostname), int(uri.port or 0))
        transport, _ = await asyncio.wait_for(connecting, connect_timeout)
        writer = asyncio.StreamWriter(transport, splitter, reader, loop)
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = writer

    async def connect_tls(self, *_: object, **__: object) -> None:
        """Always raises NoTls: nats-py would put its own reader in place, and what is heard here would be lost."""
        raise NoTls("The NATS server asks for TLS, which is not supported; see NATS_URL.")


class _Splitter(asyncio.StreamReaderProtocol):
    """Cuts what the server sends into operations; passes on, in their order, those that are not heard here."""

    def __init__(self, reader: asyncio.StreamReader, find: Find) -> None:
        super().__init__(reader)
        self._reader = reader
        self._find = find
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0
        self.reads = 0

    def data_received(self, data: bytes) -> None:
        """Hands on every operation that is whole; the start of the next waits for its rest."""
        self.reads += 1
        self._have += len(data)
        if self._have < self._need:  # of a large message: joined once, not at each of its parts
            self._parts.append(data)
            return
        if self._parts:
            data = b"".join((*self._parts, data))
        begin = 0
        self._need = 0
        while begin < len(data):
            try:
                end = self._take(data, begin)
            except (ValueError, IndexError):
                self._reader.set_exception(ProtocolError("nats: malformed MSG"))  # nats-py connects again
                return
            if end > len(data):
                self._need = end - begin
                break
            begin = end
        rest = data[begin:]
        self._parts, self._have = ([rest] if rest else []), len(rest)

    def _take(self, data: bytes, begin: int) -> int:
        """Where the operation at `begin` ends. It is handed on only if that is not beyond the end of the data."""
        line_end = data.find(_LINE_END, begin)
        if line_end < 0:
            return len(data) + 1
        has_headers = data.startswith(b"HMSG ", begin)
        if not has_headers and not data.startswith(b"MSG ", begin):
            super().data_received(data[begin : line_end + 2])
            return line_end + 2
        words = data[begin:line_end].split()
        size = int(words[-1])
        body_begin = line_end + 2
        end = body_begin + size + 2
        if end > len(data):
            return end
        hearer = self._find(int(words[2]))
        if hearer is None:
            super().data_received(data[begin:end])
            return end
        reply = words[3].decode() if len(words) == (6 if has_headers else 5) else ""
        headers_end = body_begin + int(words[-2]) if has_headers else body_begin
        try:
            hearer(words[1].decode(), reply, data[headers_end : end - 2], data[body_begin:headers_end])
        except Exception:  # one bad message must not end the reading of all others
            _log.exception("bus_message_not_taken")
        return end
