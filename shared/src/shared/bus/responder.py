"""The answering side of calls: a queue group, bounded concurrency and a drain that leaves no call unanswered."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.bus.context import ACCEPT_BY, CallContext, from_headers
from shared.bus.contract import Endpoint
from shared.bus.failures import to_wire
from shared.bus.requester import HEADERS_ROOM, WORKING
from shared.clock import unix_ms
from shared.errors import DeadlinePassed, Malformed, TooLarge, Unavailable
from shared.logging import trace_id_of_call

MAX_CONCURRENT = 512
MAX_PENDING = 4096
WORKING_EVERY_S = 1.0
GRACE_AFTER_DEADLINE_S = 5.0
DRAIN_WITHIN_S = 10.0

_log = logging.getLogger(__name__)


class Overloaded(Unavailable):
    """The service has more calls than it may have; this one was not begun."""

    reason = "overloaded"


@dataclass(frozen=True, slots=True)
class _Call:
    reply: str
    started: float
    until: float


class Responder:
    """Serves endpoints. Each call is a task of its own: nats-py runs the callbacks of a subscription one by one."""

    def __init__(self, client: Client, service: str) -> None:
        self._client = client
        self._service = service
        self._endpoints: dict[str, Endpoint] = {}
        self._calls: dict[asyncio.Task[None], _Call] = {}
        self._subscription: Subscription | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def subjects(self) -> Sequence[str]:
        """What is served here."""
        return tuple(self._endpoints)

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Serves `endpoints`; returns when the server routes calls to them."""
        self._endpoints = {endpoint.subject: endpoint for endpoint in endpoints}
        self._subscription = await self._client.subscribe(
            f"peanut.{self._service}.>", queue=self._service, cb=self._receive, pending_msgs_limit=MAX_PENDING
        )
        self._keeper = asyncio.create_task(self._keep())
        # One flush returns before the server has applied the subscription (10 of 60 calls made at once failed).
        await self._client.flush()
        await self._client.flush()

    async def drain(self) -> None:
        """Takes no new calls and answers those in flight, for at most DRAIN_WITHIN_S seconds."""
        if self._subscription is not None and self._client.is_connected:
            await self._subscription.drain()  # type: ignore[no-untyped-call]  # nats-py leaves it bare
        if self._calls:
            await asyncio.wait(tuple(self._calls), timeout=DRAIN_WITHIN_S)
        for task in self._calls:
            task.cancel()
        if self._keeper is not None:
            self._keeper.cancel()

    async def _receive(self, message: Msg) -> None:
        if len(self._calls) >= MAX_CONCURRENT:
            await self._refuse(message, Overloaded(f"The {self._service} service has too much to do."))
            return
        task = asyncio.create_task(self._answer(message))
        now = asyncio.get_running_loop().time()
        self._calls[task] = _Call(message.reply, now, now + _seconds_left(message) + GRACE_AFTER_DEADLINE_S)
        task.add_done_callback(self._calls.pop)

    async def _answer(self, message: Msg) -> None:
        headers: dict[str, str] | None = None
        trace_id = ""
        try:
            context = from_headers(message.headers or {})
            trace_id = context.trace_id
            trace_id_of_call.set(trace_id)
            body = await self._body_for(message, context)
        except asyncio.CancelledError:
            headers, body = to_wire(DeadlinePassed("The call was stopped, long past its deadline."), trace_id=trace_id)
        except Exception as error:
            headers, body = to_wire(error, trace_id=trace_id)
        await self._client.publish(message.reply, body, headers=headers)

    async def _body_for(self, message: Msg, context: CallContext) -> bytes:
        endpoint = self._endpoints.get(message.subject)
        if endpoint is None:
            raise Unavailable(f"This version of the {self._service} service does not know {message.subject}.")
        if int((message.headers or {}).get(ACCEPT_BY, 0)) < unix_ms():
            raise Overloaded(f"The {self._service} service came to this too late.")
        body = await endpoint.answer(message.data, context)
        if len(body) + HEADERS_ROOM > self._client.max_payload:
            raise TooLarge("The answer is larger than a message on the bus may be.")
        return body

    async def _refuse(self, message: Msg, error: Exception) -> None:
        headers, body = to_wire(error, trace_id="")
        await self._client.publish(message.reply, body, headers=headers)

    async def _keep(self) -> None:
        """Tells the callers of long calls that they are worked on, and ends what outlived its deadline."""
        while True:
            await asyncio.sleep(WORKING_EVERY_S)
            now = asyncio.get_running_loop().time()
            for task, call in tuple(self._calls.items()):
                if now > call.until:
                    task.cancel()
                elif now > call.started + WORKING_EVERY_S and self._client.is_connected:
                    await self._client.publish(call.reply, headers={WORKING: "1"})


def _seconds_left(message: Msg) -> float:
    try:
        return max(from_headers(message.headers or {}).remaining(), 0)
    except Malformed:
        return 0
