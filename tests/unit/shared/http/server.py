"""A server on bare asyncio that answers with whatever bytes a test wants."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from shared.http import Peer

Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def says_nothing(writer: asyncio.StreamWriter) -> None:
    """Waits until the client has enough of it."""


@dataclass
class Server:
    """Reads requests and replies; counts connections, and knows when clients have ended theirs."""

    port: int = 0
    secure: bool = False
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    reply: Reply = says_nothing
    greeting: bytes = b""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def peer(self) -> Peer:
        return self.peer_named("127.0.0.1")

    def peer_named(self, host: str) -> Peer:
        return Peer("https" if self.secure else "http", host, self.port, "127.0.0.1")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            writer.write(self.greeting)
            while True:
                self.requests.append(await _request(reader))
                await self.reply(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    size = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(size)


def sends(*pieces: bytes, then_closes: bool = False, every_s: float = 0.0) -> Reply:
    """Sends pieces, each in a packet of its own."""

    async def write(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)
        if then_closes:
            writer.close()

    return write


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@asynccontextmanager
async def running(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on the loopback address."""
    state = Server(secure=tls is not None)
    server = await asyncio.start_server(state.serve, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for writer in state.writers:
            with suppress(AttributeError):  # asyncio before Python 3.11.3, when one over TLS is closed already
                writer.transport.abort()
        await asyncio.sleep(0.01)  # what was aborted is closed in the next turns of the loop
