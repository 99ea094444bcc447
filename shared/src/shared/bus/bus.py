"""A service's connection to the bus: calls out, calls in, events, and the way it starts, breaks, heals and ends."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared.bus.context import CallContext
from shared.bus.contract import Contract, Endpoint, Kind
from shared.bus.discovery import Discovery
from shared.bus.messages import Message, read, write_request
from shared.bus.requester import NoResponder, OutcomeUnknown, Requester
from shared.bus.responder import Responder
from shared.errors import PlatformError

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

Event = Callable[[bytes], Awaitable[None]]

_log = logging.getLogger(__name__)


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
        return read(contract.reply, await self.forward(contract, write_request(request), context))

    async def forward(self, contract: Contract[Q, A], body: bytes, context: CallContext) -> bytes:
        """The same with the bytes of request and reply as they are. Only a read is tried again, once."""
        exchange = self._requester.exchange
        try:
            return await exchange(contract.service, contract.subject, body, context)
        except (NoResponder, OutcomeUnknown):
            if contract.kind is not Kind.READ or context.remaining() <= 0:
                raise
        return await exchange(contract.service, contract.subject, body, context)

    async def serve(self, *endpoints: Endpoint) -> None:
        """Answers calls from now on, until the connection ends."""
        await self._responder.start(endpoints)
        await self._discovery.start()
        await self._client.flush()

    async def publish(self, subject: str, body: bytes) -> None:
        """Sends an event; nothing may depend on its arrival."""
        await self._client.publish(subject, body)

    async def subscribe(self, subject: str, on_event: Event) -> None:
        """Hands each event's body to `on_event`, one after the other."""

        async def receive(message: Msg) -> None:
            await on_event(message.data)

        await self._client.subscribe(subject, cb=receive)
        await self._client.flush()

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

    async def _start(self) -> Callable[[], None]:
        return await self._requester.start()

    async def _end(self) -> None:
        await self._responder.drain()
        try:
            await asyncio.wait_for(self._client.flush(), 1)
        except (NatsError, TimeoutError):
            _log.warning("bus_left_unflushed")
        await self._client.close()

    def _disconnected(self) -> None:
        self._requester.disconnected()

    def _reconnected(self) -> None:
        self._requester.reconnected()
        for callback in self._on_reconnect:
            callback()


class BusUnreachable(PlatformError):
    """The bus could not be reached at the start."""

    reason = "bus-unreachable"


@asynccontextmanager
async def connect(
    url: str, *, service: str, instance: str, nkey_file: Path, on_lost: Callable[[], None], within: float = 30.0
) -> AsyncIterator[Bus]:
    """Connects as the bus user `service`, reconnects for ever, and drains at the end.

    `on_lost` is called when nats-py gives the connection up for good: the process should end and be started again.
    Raises BusUnreachable after `within` seconds without a server.
    """
    client = Client()
    bus = Bus(client, service, instance)
    ending = False

    async def on_error(error: Exception) -> None:
        _log.error("bus_error", extra={"error": type(error).__name__, "detail": str(error)})

    async def on_disconnect() -> None:
        if not ending:
            _log.warning("bus_disconnected")
        bus._disconnected()

    async def on_reconnect() -> None:
        _log.info("bus_reconnected")
        bus._reconnected()

    async def on_closed() -> None:
        if not ending:
            _log.error("bus_lost")
            on_lost()

    deadline = asyncio.get_running_loop().time() + within
    while not client.is_connected:
        try:
            # Bounded here: with endless attempts nats-py's first connect never returns while the server is down.
            await asyncio.wait_for(
                client.connect(
                    url,
                    name=instance,
                    nkeys_seed_str=nkey_file.read_text(encoding="ascii").strip(),
                    inbox_prefix=f"_INBOX_{service}",
                    error_cb=on_error,
                    disconnected_cb=on_disconnect,
                    reconnected_cb=on_reconnect,
                    closed_cb=on_closed,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=random.uniform(0.1, 0.25),  # type: ignore[arg-type]  # seconds; floats work
                    ping_interval=5,
                    max_outstanding_pings=2,
                    connect_timeout=2,
                ),
                3,
            )
        except (NatsError, OSError, TimeoutError) as error:
            await client.close()
            if asyncio.get_running_loop().time() > deadline:
                raise BusUnreachable(f"No NATS server answers at {url}: {type(error).__name__}.") from error
            await asyncio.sleep(0.2)
    stop_watching = await bus._start()
    try:
        yield bus
    finally:
        ending = True
        stop_watching()
        await bus._end()
