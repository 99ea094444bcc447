"""The receiving end of streams: what arrives waits here, at most a window of it, until it is read."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from nats.errors import Error as NatsError

from shared.bus.client import BusClient
from shared.bus.context import CallContext
from shared.bus.contract import Contract
from shared.bus.headers import read_headers
from shared.bus.notes import hear_notes
from shared.bus.requester import Pending, Requester, body_of
from shared.bus.streams import (
    CHUNK_COST,
    CHUNKS,
    NUMBER_BYTES,
    POSITION_BYTES,
    WINDOW,
    StreamBroken,
    flow_of,
    new_stream_id,
    streams_of,
)

MISSING_WITHIN_S = 1.0
"""How long after the answer a chunk may still arrive: they come by different subjects."""

_log = logging.getLogger(__name__)


class StreamInlet:
    """Reads one stream; see Inlet."""

    def __init__(self, client: BusClient, call: Pending) -> None:
        self.answer = b""
        self._client = client
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._chunks: list[bytes] = []
        self._heard = 0
        self._notes = b""
        self._flow = ""
        self._cost = 0
        self._told = 0
        self._said: dict[str, str] | None = None
        self._is_broken = False
        self._news: asyncio.Future[None] | None = None
        self._missing: asyncio.TimerHandle | None = None
        call.reply.add_done_callback(self._wake)

    async def piece(self) -> bytes | None:
        """See Inlet."""
        while not self._chunks:
            if self._is_broken:
                raise StreamBroken(f"A part of what {self._call.service} sent was lost on its way.")
            if self._call.reply.done() and self._is_whole():
                self._end()
                return None
            self._news = self._loop.create_future()
            await self._news
        if self._notes:
            hear_notes(read_headers(self._notes))
            self._notes = b""
        piece = b"".join(self._chunks)
        self._chunks.clear()
        if self._cost - self._told >= WINDOW // 2:
            self._tell()
        return piece

    def hear(self, flow: str, body: bytes, headers: bytes) -> None:
        """Takes a chunk; all come over one connection, so that one out of its turn tells of a loss."""
        if self._is_broken:
            return
        number = int.from_bytes(body[:NUMBER_BYTES], "big")
        if number != self._heard or not flow.startswith(flow_of(self._call.service)):
            _log.warning("stream_broken", extra={"service": self._call.service, "chunk": number, "next": self._heard})
            self._break()
            return
        self._call.is_worked_on(self._loop.time())
        if not number:
            self._flow, self._notes = flow, headers
        self._heard += 1
        self._cost += len(body) - NUMBER_BYTES + CHUNK_COST
        self._chunks.append(body[NUMBER_BYTES:])
        self._wake()

    def close(self) -> None:
        """Nobody reads any more."""
        if self._missing is not None:
            self._missing.cancel()

    def _is_whole(self) -> bool:
        """Whether all that came before the end is here; where it is not, it has a moment to come."""
        if self._call.reply.exception() is not None:
            return True
        if self._said is None:
            self._said = read_headers(self._call.reply.result()[1])
        if self._said.get(CHUNKS, "0") == str(self._heard):
            return True
        if self._missing is None:
            self._missing = self._loop.call_later(MISSING_WITHIN_S, self._break)
        return False

    def _end(self) -> None:
        answer, _ = self._call.reply.result()
        self.answer = body_of(answer, self._said or {}, self._call.service)

    def _tell(self) -> None:
        self._told = self._cost
        with suppress(NatsError):  # a broken connection fails the call by itself
            self._client.send(self._flow, self._cost.to_bytes(POSITION_BYTES, "big"))

    def _break(self) -> None:
        self._is_broken = True
        self._wake()

    def _wake(self, *_: object) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class Inlets:
    """The streams that are read in this process, heard on one subject for each."""

    def __init__(self, client: BusClient, requester: Requester, reader: str) -> None:
        self._client = client
        self._requester = requester
        self._subjects = f"{streams_of(reader)}*"
        self._open: dict[str, StreamInlet] = {}
        self._hearing = asyncio.Lock()
        self._is_heard = False

    @asynccontextmanager
    async def stream(
        self, contract: Contract[Any, Any], body: bytes, context: CallContext
    ) -> AsyncIterator[StreamInlet]:
        """Sends the call; who leaves the block before its end cancels it."""
        if not self._is_heard:
            await self._start()
        id = new_stream_id()
        call = await self._requester.begin(contract, body, context, stream=id)
        inlet = self._open[id] = StreamInlet(self._client, call)
        try:
            yield inlet
        finally:
            del self._open[id]
            inlet.close()
            self._requester.leave(call)

    async def _start(self) -> None:
        """Not before the first stream: only who reads any may hear any."""
        async with self._hearing:
            if not self._is_heard:
                await self._client.hear(self._subjects, self._hear)
                self._is_heard = True

    def _hear(self, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        inlet = self._open.get(subject.rpartition(".")[2])
        if inlet is not None:  # otherwise its reader has left, and said so
            inlet.hear(reply, body, headers)
