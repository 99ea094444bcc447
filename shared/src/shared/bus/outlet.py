"""The sending end of a stream: numbered chunks, never more than a window ahead of the reader."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from nats.errors import Error as NatsError

from shared.bus.client import BusClient
from shared.bus.headers import write_headers
from shared.bus.notes import noted_headers
from shared.bus.streams import CHUNK_COST, NUMBER_BYTES, WINDOW, ReaderGone
from shared.errors import TooLarge


class StreamOutlet:
    """Writes to one reader, who says on the subject `flow` how far it is.

    `on_stall` is called when a writer has waited `patience` seconds for a reader that takes nothing.
    """

    def __init__(
        self, client: BusClient, subject: str, *, flow: str, patience: float, on_stall: Callable[[], None]
    ) -> None:
        self.chunks = 0
        self.sent_at = 0.0
        self._client = client
        self._subject = subject
        self._flow = flow
        self._patience = patience
        self._on_stall = on_stall
        self._pieces: list[bytes] = []
        self._notes = b""
        self._written = 0
        self._consumed = 0
        self._moved = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._is_closed = False

    async def write(self, piece: bytes) -> None:
        """See Outlet."""
        if len(piece) > self._client.max_payload - 2 * WINDOW:
            raise TooLarge("A piece of a stream is larger than a message on the bus may be.")
        while self._is_ahead(len(piece)) and not self._is_closed:
            await self._reader_moves()
        if self._is_closed:
            raise ReaderGone("Nobody reads this any more.")
        if not self._written:
            self._note()
        if not self._pieces:
            self._written += CHUNK_COST
            self._client.before_writing(self._flush)
        self._written += len(piece)
        self._pieces.append(piece)

    def consumed(self, bytes_in_all: int) -> None:
        """The reader has taken so much since the beginning."""
        if self._consumed < bytes_in_all <= self._written:
            self._consumed = bytes_in_all
            self._moved.set()

    def finish(self) -> None:
        """Sends what was written; nothing can be written after it."""
        self._is_closed = True
        self._flush()
        self._moved.set()

    def abandon(self) -> None:
        """Nobody reads any more: who writes is told so."""
        self._is_closed = True
        self._pieces.clear()
        self._moved.set()

    def _is_ahead(self, size: int) -> bool:
        # The reader may be half a window further than it said; so it has to be enough when it is no more behind.
        ahead = self._written - self._consumed
        return ahead >= WINDOW // 2 and ahead + CHUNK_COST + size > WINDOW

    async def _reader_moves(self) -> None:
        self._moved.clear()
        stall = self._loop.call_later(self._patience, self._on_stall)
        try:
            await self._moved.wait()
        finally:
            stall.cancel()

    def _note(self) -> None:
        notes = noted_headers()
        self._notes = write_headers(notes) if notes else b""

    def _flush(self) -> None:
        if not self._pieces:
            return
        body = b"".join((self.chunks.to_bytes(NUMBER_BYTES, "big"), *self._pieces))
        self._pieces.clear()
        headers, self._notes = self._notes, b""
        self.chunks += 1
        self.sent_at = self._loop.time()
        with suppress(NatsError):  # a broken connection ends the call by itself
            self._client.send(self._subject, body, reply=self._flow, headers=headers)
