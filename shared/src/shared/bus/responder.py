"""The answering side of calls: a queue group, bounded concurrency and a drain that leaves no call unanswered."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from shared.bus.context import CallContext, accept_by, from_headers
from shared.bus.contract import Endpoint
from shared.bus.failures import to_wire
from shared.bus.requester import HEADERS_ROOM, WORKING, OutcomeUnknown
from shared.clock import unix_ms
from shared.errors import DeadlinePassed, Malformed, TooLarge, Unavailable
from shared.logging import trace_id_of_call

MAX_CONCURRENT = 512
MAX_PENDING = 4096
LOOK_EVERY_S = 0.25
FIRST_SIGN_S = 0.25
SIGN_EVERY_S = 1.0
GRACE_AFTER_DEADLINE_S = 5.0
UNSUBSCRIBE_WITHIN_S = 2.0
DRAIN_WITHIN_S = 10.0
CLEAN_UP_WITHIN_S = 1.0

_log = logging.getLogger(__name__)


class Overloaded(Unavailable):
    """The service has more calls than it may have; this one was not begun."""

    reason = "overloaded"


@dataclass(slots=True)
class _Call:
    reply: str
    connection: int
    sign_at: float
    until: float


async def settle(client: Client) -> None:
    """Returns when the server has applied all that was sent. One flush is not enough: its PING overtakes what waits."""
    await client.flush()
    await client.flush()


class Responder:
    """Serves endpoints. Each call is a task of its own: nats-py runs the callbacks of a subscription one by one."""

    def __init__(self, client: Client, service: str) -> None:
        self._client = client
        self._service = service
        self._endpoints: dict[str, Endpoint] = {}
        self._calls: dict[asyncio.Task[None], _Call] = {}
        self._subscription: Subscription | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._connection = 0

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
        await settle(self._client)

    async def drain(self) -> None:
        """Takes no new calls and answers those in flight, for at most DRAIN_WITHIN_S seconds."""
        if self._subscription is not None and self._client.is_connected:
            try:
                await asyncio.wait_for(self._subscription.drain(), UNSUBSCRIBE_WITHIN_S)  # type: ignore[no-untyped-call]  # nats-py leaves it bare
            except (NatsError, TimeoutError):
                _log.warning("bus_left_undrained")  # the bus broke meanwhile; so it routes nothing here either
        if self._calls:
            await asyncio.wait(tuple(self._calls), timeout=DRAIN_WITHIN_S)
        if self._calls:
            for task in self._calls:
                task.cancel()
            await asyncio.wait(tuple(self._calls), timeout=CLEAN_UP_WITHIN_S)
        if self._keeper is not None:
            self._keeper.cancel()

    def disconnected(self) -> None:
        """The connection broke: callers in flight were told so, and the server would let no answer through to them."""
        self._connection += 1

    async def _receive(self, message: Msg) -> None:
        if not message.reply.startswith("_INBOX_"):
            # Who chose another subject would have this service speak there with its own permissions.
            _log.warning("call_without_inbox", extra={"subject": message.subject})
            return
        try:
            context = from_headers(message.headers or {})
            if len(self._calls) >= MAX_CONCURRENT:
                raise Overloaded(f"The {self._service} service has too much to do.")
        except (Malformed, Overloaded) as error:
            headers, body = to_wire(error, trace_id="")
            await self._send(message.reply, body, headers)
            return
        now = asyncio.get_running_loop().time()
        until = now + max(context.remaining(), 0) + GRACE_AFTER_DEADLINE_S
        call = _Call(message.reply, self._connection, now + FIRST_SIGN_S, until)
        task = asyncio.create_task(self._answer(message, context, call))
        self._calls[task] = call
        task.add_done_callback(self._calls.pop)

    async def _answer(self, message: Msg, context: CallContext, call: _Call) -> None:
        trace_id_of_call.set(context.trace_id)
        headers: dict[str, str] | None = None
        try:
            body = await self._body_for(message, context)
        except asyncio.CancelledError as error:
            headers, body = to_wire(self._why_cancelled(error, context), trace_id=context.trace_id)
        except Exception as error:
            headers, body = to_wire(error, trace_id=context.trace_id)
        if call.connection == self._connection:
            await self._send(message.reply, body, headers)

    async def _body_for(self, message: Msg, context: CallContext) -> bytes:
        endpoint = self._endpoints.get(message.subject)
        if endpoint is None:
            raise Unavailable(f"This version of the {self._service} service does not know {message.subject}.")
        if accept_by(message.headers or {}) < unix_ms():
            raise Overloaded(f"The {self._service} service came to this too late.")
        body = await endpoint.answer(message.data, context)
        if len(body) + HEADERS_ROOM > self._client.max_payload:
            raise TooLarge("The answer is larger than a message on the bus may be.")
        return body

    def _why_cancelled(self, error: asyncio.CancelledError, context: CallContext) -> BaseException:
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            return error  # not by us: something that the handler awaited was cancelled
        if context.remaining() <= 0:
            return DeadlinePassed("The call was stopped, long past its deadline.")
        return OutcomeUnknown(f"The {self._service} service stopped while it worked on this.")

    async def _keep(self) -> None:
        """Tells the callers of long calls that they are worked on, and ends what outlived its deadline."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = asyncio.get_running_loop().time()
            for task, call in tuple(self._calls.items()):
                if now > call.until:
                    call.until = float("inf")  # once: the handler may have to clean up
                    task.cancel()
                elif now > call.sign_at and call.connection == self._connection:
                    call.sign_at = now + SIGN_EVERY_S
                    await self._send(call.reply, b"", {WORKING: "1"})

    async def _send(self, reply: str, body: bytes, headers: Mapping[str, str] | None) -> None:
        try:
            await self._client.publish(reply, body, headers=dict(headers) if headers else None)
        except NatsError as error:
            _log.warning("reply_not_sent", extra={"error": type(error).__name__})
