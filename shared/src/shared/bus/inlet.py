"""The receiving end of streams: what arrives waits here, at most a window of it, until it is read."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from nats.errors import Error as NatsError

from shared.bus.client import BusClient
from shared.bus.context import CallContext
from shared.bus.contract import Contract
from shared.bus.headers import read_headers
from shared.bus.notes import hear_notes
from shared.bus.pending import Pending
from shared.bus.requester import ReplicaSilent, Requester, body_of
from shared.bus.streams import (
    CHUNK_COST,
    CHUNKS,
    NUMBER_BYTES,
    POSITION_BYTES,
    WINDOW,
    Inlet,
    StreamBroken,
    flow_of,
    new_stream_id,
    streams_of,
)

MISSING_WITHIN_S = 1.0
"""How long after the answer a chunk may still arrive: they come by different subjects."""

_log = logging.getLogger(__name__)


class StreamInlet:
    """Reads what one replica hands over; see Inlet."""

    def __init__(self, client: BusClient, id: str, call: Pending) -> None:
        self.answer = b""
        self.id = id
        self.call = call
        self._client = client
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
                raise StreamBroken(f"A part of what {self.call.service} sent was lost on its way.")
            if self.call.reply.done() and self._is_whole():
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
        if number != self._heard or not flow.startswith(flow_of(self.call.service)):
            _log.warning("stream_broken", extra={"service": self.call.service, "chunk": number, "next": self._heard})
            self._break()
            return
        self.call.is_worked_on(self._loop.time())
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
        if self.call.reply.exception() is not None:
            return True
        if self._said is None:
            self._said = read_headers(self.call.reply.result()[1])
        if self._said.get(CHUNKS, "0") == str(self._heard):
            return True
        if self._missing is None:
            self._missing = self._loop.call_later(MISSING_WITHIN_S, self._break)
        return False

    def _end(self) -> None:
        answer, _ = self.call.reply.result()
        self.answer = body_of(answer, self._said or {}, self.call.service)

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
    async def stream(self, contract: Contract[Any, Any], body: bytes, context: CallContext) -> AsyncIterator[Inlet]:
        """Sends the call; who leaves the block before its end cancels it."""
        if not self._is_heard:
            await self._start()
        begin = partial(self._begin, contract, body, context)
        reading = _Reading(await begin(), begin, self._leave)
        try:
            yield reading
        finally:
            reading.close()

    async def _start(self) -> None:
        """Not before the first stream: only who reads any may hear any."""
        async with self._hearing:
            if not self._is_heard:
                await self._client.hear(self._subjects, self._hear)
                self._is_heard = True

    async def _begin(
        self, contract: Contract[Any, Any], body: bytes, context: CallContext, replica: str | None = None
    ) -> StreamInlet:
        id = new_stream_id()
        call = await self._requester.begin(contract, body, context, replica=replica, stream=id)
        inlet = self._open[id] = StreamInlet(self._client, id, call)
        return inlet

    def _leave(self, inlet: StreamInlet) -> None:
        if self._open.pop(inlet.id, None) is not None:
            inlet.close()
            self._requester.leave(inlet.call)

    def _hear(self, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        inlet = self._open.get(subject.rpartition(".")[2])
        if inlet is not None:  # otherwise its reader has left, and said so
            inlet.hear(reply, body, headers)


class _Reading:
    """Reads from the replica that got the call, or from another one when nothing at all is heard of that."""

    def __init__(
        self,
        inlet: StreamInlet,
        begin: Callable[..., Awaitable[StreamInlet]],
        leave: Callable[[StreamInlet], None],
    ) -> None:
        self._inlet = inlet
        self._begin = begin
        self._leave = leave

    @property
    def answer(self) -> bytes:
        return self._inlet.answer

    async def piece(self) -> bytes | None:
        try:
            return await self._inlet.piece()
        except ReplicaSilent as silent:
            if silent.other is None:
                raise
            replica = silent.other
        self._leave(self._inlet)
        self._inlet = await self._begin(replica=replica)
        return await self._inlet.piece()

    def close(self) -> None:
        self._leave(self._inlet)
