"""The asking side of calls: one inbox for all of them, and failures instead of silence."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus.context import CallContext, to_headers
from shared.bus.failures import CODE, from_wire
from shared.errors import DeadlinePassed, TooLarge, Unavailable

WORKING = "Peanut-Working"
"""Header of the empty message by which a replica says that it still works on a call."""

LOST_AFTER_S = 3.0
SWEEP_EVERY_S = 0.5
RECONNECT_WITHIN_S = 1.0
HEADERS_ROOM = 64 * 1024


class NoResponder(Unavailable):
    """Nobody serves this subject right now; nothing was done."""


class OutcomeUnknown(Unavailable):
    """The way to the replica broke while it worked: whether the call was done is not known."""

    reason = "outcome-unknown"


@dataclass(slots=True, eq=False)
class _Pending:
    reply: asyncio.Future[Msg]
    service: str
    heard: float
    timer: asyncio.TimerHandle | None = field(default=None)


class Requester:
    """Sends calls and matches replies to them.

    nats-py's own `request` waits for its whole time-out when the connection breaks or the replica is killed; here a
    call fails as soon as either is known, because a replica says each second that it still works on it.
    """

    def __init__(self, client: Client, inbox: str) -> None:
        self._client = client
        self._inbox = inbox
        self._tokens = count()
        self._pending: dict[str, _Pending] = {}
        self._connected = asyncio.Event()
        self._connected.set()

    async def start(self) -> Callable[[], None]:
        """Subscribes to the inbox and returns what ends the watch over calls in flight."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._receive)
        sweep = asyncio.create_task(self._sweep())

        def stop() -> None:
            sweep.cancel()

        return stop

    async def exchange(self, service: str, subject: str, body: bytes, context: CallContext) -> bytes:
        """Sends one call and returns the reply's body.

        Raises the failure that the service sent, NoResponder, OutcomeUnknown, DeadlinePassed, TooLarge or Unavailable.
        """
        if len(body) + HEADERS_ROOM > self._client.max_payload:
            raise TooLarge("This is larger than a message on the bus may be.")
        if not self._client.is_connected:
            await self._reconnected(context)
        loop = asyncio.get_running_loop()
        token = f"{next(self._tokens):x}"
        pending = _Pending(loop.create_future(), service, loop.time())
        pending.timer = loop.call_later(max(context.remaining(), 0), self._expire, pending)
        self._pending[token] = pending
        try:
            await self._client.publish(subject, body, f"{self._inbox}.{token}", to_headers(context))
            reply = await pending.reply
        finally:
            del self._pending[token]
            pending.timer.cancel()
        return _body_of(reply, service)

    def disconnected(self) -> None:
        """The connection broke: replies to calls in flight may be lost with it."""
        self._connected.clear()
        for pending in self._pending.values():
            _fail(pending, OutcomeUnknown(f"The bus broke while {pending.service} worked on this."))

    def reconnected(self) -> None:
        """The connection is there again."""
        self._connected.set()

    async def _reconnected(self, context: CallContext) -> None:
        try:
            async with asyncio.timeout(max(min(RECONNECT_WITHIN_S, context.remaining()), 0)):
                await self._connected.wait()
        except TimeoutError:
            raise Unavailable("The bus is not reachable.") from None

    async def _receive(self, message: Msg) -> None:
        pending = self._pending.get(message.subject.rpartition(".")[2])
        if pending is None or pending.reply.done():
            return  # its caller has given up
        if message.headers and WORKING in message.headers:
            pending.heard = asyncio.get_running_loop().time()
        else:
            pending.reply.set_result(message)

    def _expire(self, pending: _Pending) -> None:
        _fail(pending, DeadlinePassed(f"No answer from {pending.service} in time."))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            lost = asyncio.get_running_loop().time() - LOST_AFTER_S
            for pending in self._pending.values():
                if pending.heard < lost:
                    _fail(pending, OutcomeUnknown(f"The replica of {pending.service} that worked on this is gone."))


def _fail(pending: _Pending, error: Exception) -> None:
    if not pending.reply.done():
        pending.reply.set_exception(error)


def _body_of(reply: Msg, service: str) -> bytes:
    headers = reply.headers
    if headers:
        if headers.get("Status") == "503":
            raise NoResponder(f"The {service} service is not running.")
        if CODE in headers:
            raise from_wire(headers, reply.data)
    return reply.data
