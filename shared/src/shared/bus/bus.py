"""What a service may do on the bus: calls out, calls in, and events."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared.bus.cancelling import inbox_of
from shared.bus.client import BusClient
from shared.bus.context import CallContext
from shared.bus.contract import Contract, Endpoint, Kind
from shared.bus.discovery import Discovery, Replica
from shared.bus.inlet import Inlets
from shared.bus.messages import Message, read, write_request
from shared.bus.records import Records
from shared.bus.requester import NoResponder, OutcomeUnknown, ReplicaSilent, Requester
from shared.bus.responder import Responder, settle
from shared.bus.streams import Inlet
from shared.bus.talks import Talk, Talks
from shared.errors import InvalidFields, PlatformError

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

OnEvent = Callable[[bytes], Awaitable[None]]

_log = logging.getLogger(__name__)


class ReplyNotUnderstood(PlatformError):
    """A service answered with something other than its contract says."""


class Bus:
    """What a service may do on the bus. Made by `connect`."""

    def __init__(self, client: BusClient, service: str, instance: str, *, finds_replicas: bool) -> None:
        self.service = service
        self.instance = instance
        self._client = client
        process = f"{instance}-{random.getrandbits(48):x}"
        self._responder = Responder(client, service, instance, process)
        self._inbox = f"{inbox_of(service)}{process}"
        self._requester = Requester(client, service, process, finds_replicas=finds_replicas)
        self._talks = Talks(client, service, process)
        self._inlets = Inlets(client, self._requester, f"{service}.{process}")
        self._discovery = Discovery(client, service, instance, self._responder)
        self._records: list[Records] = []
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

    async def forward(
        self, contract: Contract[Q, A], body: bytes, context: CallContext, *, ask_again_after: float | None = None
    ) -> bytes:
        """The same with the bytes of request and reply as they are.

        A call of a kind that ends with its caller is stopped when the task that waits here is cancelled.

        `ask_again_after` seconds without an answer, a change that does no harm when it is done twice is sent once more.

        What the replica that got it is silent about from the beginning, as a paused one is that stays in its queue
        group, is sent to another one that says that it is there, if this user may ask that; a change never is. Only a
        read is tried again otherwise: once, or for as long as there is time when replicas are silent.
        """
        if contract.kind is Kind.READ:
            return await self._read(contract, body, context)
        try:
            return await self._requester.exchange(contract, body, context, ask_again_after=ask_again_after)
        except ReplicaSilent as silent:
            if silent.other is None:
                raise
            return await self._requester.exchange(contract, body, context, replica=silent.other)

    async def _read(self, contract: Contract[Q, A], body: bytes, context: CallContext) -> bytes:
        again, replica = True, None
        while True:
            try:
                return await self._requester.exchange(contract, body, context, replica=replica)
            except ReplicaSilent as silent:
                replica = silent.other
            except (NoResponder, OutcomeUnknown):
                if not again or context.remaining() <= 0:
                    raise
                again, replica = False, None

    def stream(self, contract: Contract[Q, A], body: bytes, context: CallContext) -> AbstractAsyncContextManager[Inlet]:
        """Asks for a stream, and gives what is handed over before the answer; both are bytes as they are.

        Who leaves the block before the end, or is cancelled there, stops the call.
        """
        return self._inlets.stream(contract, body, context)

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
            self._client.send(subject, body)

    async def subscribe(self, subject: str, on_event: OnEvent) -> None:
        """Hands each event's body to `on_event`, one after the other."""

        async def receive(message: Msg) -> None:
            await on_event(message.data)

        await self._client.subscribe(subject, cb=receive)
        await settle(self._client)

    async def records(self, bucket: str) -> Records:
        """The records of that bucket, which is made unless it is there; raises NoRecords."""
        records = Records(self._client, f"{self._inbox}-{bucket}", bucket)
        self._records.append(records)
        await records.start()
        return records

    def talk(
        self, subject: str, body: bytes, headers: Mapping[str, str], *, who: str, max_unread: int
    ) -> AbstractAsyncContextManager[Talk]:
        """Asks somebody who is no service, and hears what comes back while the block runs; see `Talks.begin`."""
        return self._talks.begin(subject, body, headers, who=who, max_unread=max_unread)

    async def replicas(self, service: str, *, within: float) -> list[Replica]:
        """Every replica of `service` that says so in `within` seconds; at most MAX_REPLICAS, each once."""
        return await self._discovery.replicas(service, within=within)

    @property
    def last_error(self) -> str:
        """What nats-py says of the last failure, for the log."""
        return str(self._client.last_error)

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Calls back after each reconnection: events may have been missed."""
        self._on_reconnect.append(callback)

    async def start(self) -> None:
        """Makes calls out possible."""
        await self._requester.start()

    async def end(self) -> None:
        """Answers the calls in flight and closes the connection."""
        await self._responder.drain()
        if self._client.is_connected:
            try:
                await asyncio.wait_for(settle(self._client), 1)
            except (NatsError, TimeoutError):
                _log.warning("bus_left_unflushed")
        await self._client.close()

    def disconnected(self) -> None:
        """The connection broke."""
        self._responder.disconnected()
        self._requester.disconnected()
        self._talks.disconnected()
        for records in self._records:
            records.disconnected()

    def reconnected(self) -> None:
        """The connection is there again."""
        self._requester.reconnected()
        for callback in self._on_reconnect:
            callback()
