"""A service's connection to the bus: calls out, calls in, events, and the way it starts, breaks, heals and ends."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import nkeys
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared.bus.context import CallContext
from shared.bus.contract import Contract, Endpoint, Kind
from shared.bus.discovery import Discovery
from shared.bus.messages import Message, read, write_request
from shared.bus.requester import LOST_AFTER_S, NoResponder, OutcomeUnknown, ReplicaSilent, Requester
from shared.bus.responder import Responder, settle
from shared.errors import InvalidFields, PlatformError

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

Event = Callable[[bytes], Awaitable[None]]

READ_PATIENCE_S = 0.75
"""How long a replica may say nothing about a read before another is asked; its first sign of work comes sooner."""
ERRORS_EVERY_S = 1.0

_log = logging.getLogger(__name__)


class ReplyNotUnderstood(PlatformError):
    """A service answered with something other than its contract says."""


class Bus:
    """What a service may do on the bus. Made by `connect`."""

    def __init__(self, client: Client, service: str, instance: str) -> None:
        self.service = service
        self.instance = instance
        self._client = client
        self._responder = Responder(client, service)
        self._requester = Requester(client, f"_INBOX_{service}.{instance}-{random.getrandbits(48):x}")
        self._discovery = Discovery(client, service, instance, self._responder)
        self._on_reconnect: list[Callable[[], None]] = []

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached now, as far as is known."""
        return self._client.is_connected

    async def call(self, contract: Contract[Q, A], request: Q, context: CallContext) -> A:
        """Asks and returns the typed reply. A failure of the service is raised here with its code and reason kept."""
        reply = await self.forward(contract, write_request(request), context)
        try:
            return read(contract.reply, reply)
        except InvalidFields as error:  # the service's mistake; not one of who asked
            _log.error("reply_not_understood", extra={"subject": contract.subject, "errors": error.errors})
            raise ReplyNotUnderstood(f"The answer of {contract.service} is not understood.") from error

    async def forward(self, contract: Contract[Q, A], body: bytes, context: CallContext) -> bytes:
        """The same with the bytes of request and reply as they are.

        Only a read is tried again: once, or for as long as there is time when the replica that got it is silent. A
        paused one stays in its queue group and gets every n-th try.
        """
        if contract.kind is not Kind.READ:
            return await self._once(contract, body, context, LOST_AFTER_S)
        again = True
        while True:
            try:
                return await self._once(contract, body, context, READ_PATIENCE_S)
            except ReplicaSilent:
                pass
            except (NoResponder, OutcomeUnknown):
                if not again or context.remaining() <= 0:
                    raise
                again = False

    async def _once(self, contract: Contract[Q, A], body: bytes, context: CallContext, patience: float) -> bytes:
        return await self._requester.exchange(contract.service, contract.subject, body, context, patience=patience)

    async def serve(self, *endpoints: Endpoint) -> None:
        """Answers calls from now on, until the connection ends."""
        await self._responder.start(endpoints)
        await self._discovery.start()
        await settle(self._client)

    async def publish(self, subject: str, body: bytes) -> None:
        """Sends an event; nothing may depend on its arrival. Without a connection it is dropped.

        nats-py would keep it and deliver it late, as if it were news.
        """
        if self._client.is_connected:
            await self._client.publish(subject, body)

    async def subscribe(self, subject: str, on_event: Event) -> None:
        """Hands each event's body to `on_event`, one after the other."""

        async def receive(message: Msg) -> None:
            await on_event(message.data)

        await self._client.subscribe(subject, cb=receive)
        await settle(self._client)

    async def replicas(self, service: str, *, within: float) -> list[dict[str, object]]:
        """The STATS of every replica of `service` that answers in `within` seconds."""
        found: list[dict[str, object]] = []

        async def receive(message: Msg) -> None:
            if message.data:  # empty: the server says that nobody listens
                found.append(orjson.loads(message.data))

        inbox = f"_INBOX_{self.service}.gather-{random.getrandbits(64):x}"
        subscription = await self._client.subscribe(inbox, cb=receive)
        await self._client.publish(f"$SRV.STATS.{service}", reply=inbox)
        await asyncio.sleep(within)
        await subscription.unsubscribe()
        return found

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Calls back after each reconnection: events may have been missed."""
        self._on_reconnect.append(callback)

    async def _start(self) -> None:
        await self._requester.start()

    async def _end(self) -> None:
        await self._responder.drain()
        if self._client.is_connected:
            try:
                await asyncio.wait_for(settle(self._client), 1)
            except (NatsError, TimeoutError):
                _log.warning("bus_left_unflushed")
        await self._client.close()

    def _disconnected(self) -> None:
        self._responder.disconnected()
        self._requester.disconnected()

    def _reconnected(self) -> None:
        self._requester.reconnected()
        for callback in self._on_reconnect:
            callback()


class BusUnreachable(PlatformError):
    """The bus could not be reached at the start."""

    reason = "bus-unreachable"


class BusRefused(PlatformError):
    """The bus does not know this identity, or there is none; trying again would change nothing."""

    reason = "bus-refused"


@asynccontextmanager
async def connect(
    url: str, *, service: str, instance: str, nkey_file: Path, on_lost: Callable[[], None], within: float = 30.0
) -> AsyncIterator[Bus]:
    """Connects as the bus user `service`, reconnects for ever, and drains at the end.

    `on_lost` is called when the connection is lost for good, because nats-py gives it up or the server refuses this
    identity from now on: the process should end and be started again. Raises BusRefused when the server refuses it
    at once, and BusUnreachable after `within` seconds without a server.
    """
    client = Client()
    bus = Bus(client, service, instance)
    line = _Line(bus, on_lost)
    seed = _seed_in(nkey_file)
    try:
        await _first_connect(client, line, url, name=instance, seed=seed, within=within)
        line.up = True
        await bus._start()
        yield bus
    finally:
        line.up = False
        await bus._end()


class _Line:
    """What nats-py tells of a connection, said on to the bus and the log. Nothing is lost before it was up."""

    def __init__(self, bus: Bus, on_lost: Callable[[], None]) -> None:
        self.up = False
        self.user = bus.service
        self._bus = bus
        self._on_lost = on_lost
        self._last_error = ""
        self._silent_until = 0.0

    async def on_error(self, error: Exception) -> None:
        text = str(error)
        if "authorization violation" in text.lower():
            if not self.up:
                raise BusRefused("The NATS server does not know this identity.")  # nats-py would try for ever
            self._lost(text)
            return
        now = asyncio.get_running_loop().time()
        if text != self._last_error or now >= self._silent_until:  # a dead server makes ten of them a second
            self._last_error, self._silent_until = text, now + ERRORS_EVERY_S
            _log.error("bus_error", extra={"error": type(error).__name__, "detail": text})

    async def on_disconnect(self) -> None:
        if self.up:
            _log.warning("bus_disconnected")
        self._bus._disconnected()

    async def on_reconnect(self) -> None:
        _log.info("bus_reconnected")
        self._bus._reconnected()

    async def on_closed(self) -> None:
        self._lost(str(self._bus._client.last_error))

    def _lost(self, why: str) -> None:
        if self.up:
            self.up = False
            _log.error("bus_lost", extra={"detail": why})
            self._on_lost()


async def _first_connect(client: Client, line: _Line, url: str, *, name: str, seed: str, within: float) -> None:
    deadline = asyncio.get_running_loop().time() + within
    while not client.is_connected:
        try:
            # Bounded here: with endless attempts nats-py's first connect never returns while the server is down.
            await asyncio.wait_for(
                client.connect(
                    url,
                    name=name,
                    nkeys_seed_str=seed,
                    inbox_prefix=f"_INBOX_{line.user}",
                    error_cb=line.on_error,
                    disconnected_cb=line.on_disconnect,
                    reconnected_cb=line.on_reconnect,
                    closed_cb=line.on_closed,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=random.uniform(0.1, 0.25),  # type: ignore[arg-type]  # seconds; floats work
                    ping_interval=5,
                    max_outstanding_pings=2,
                    skip_subject_validation=True,  # all subjects are ours; it costs on every call
                    connect_timeout=2,
                ),
                min(3.0, max(within, 0.1)),
            )
        except (NatsError, OSError, TimeoutError) as error:
            await client.close()
            if asyncio.get_running_loop().time() > deadline:
                raise BusUnreachable(f"No NATS server answers at {url}.") from error
            await asyncio.sleep(0.1)


def _seed_in(file: Path) -> str:
    try:
        seed = file.read_text(encoding="ascii").strip()
        nkeys.from_seed(bytearray(seed, "ascii")).wipe()
    except (OSError, ValueError, nkeys.NkeysError) as error:
        raise BusRefused(f"{file} holds no identity for the bus.") from error
    return seed
