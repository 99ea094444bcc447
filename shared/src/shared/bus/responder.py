"""The answering side of calls: a queue group, bounded concurrency and a drain that leaves no call unanswered."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from shared.bus.admission import Admission
from shared.bus.cancelling import cancel_subject, cancelled_reply
from shared.bus.client import BusClient
from shared.bus.context import CallContext, accept_by, from_headers
from shared.bus.contract import Endpoint
from shared.bus.direct import directly_to
from shared.bus.failures import to_wire
from shared.bus.headers import NOBODY_LISTENS, STATUS, read_headers, write_headers
from shared.bus.notes import noted_headers
from shared.bus.outlet import StreamOutlet
from shared.bus.requester import HEADERS_ROOM, SIGN_OF_WORK, OutcomeUnknown
from shared.bus.statistics import Statistics
from shared.bus.streams import (
    CHUNKS,
    POSITION_BYTES,
    STREAM,
    ReaderStalled,
    chunk_subject,
    flow_of,
    new_stream_id,
)
from shared.clock import unix_ms
from shared.errors import DeadlinePassed, Malformed, Overloaded, PlatformError, TooLarge, Unavailable
from shared.logging import trace_id_of_call

LOOK_EVERY_S = 0.25
FIRST_SIGN_S = 0.25
SIGN_EVERY_S = 1.0
GRACE_AFTER_DEADLINE_S = 5.0
UNSUBSCRIBE_WITHIN_S = 2.0
DRAIN_WITHIN_S = 10.0
CLEAN_UP_WITHIN_S = 1.0
LARGE = 64 * 1024

READER_PATIENCE_S = 30.0
"""How long the producer of a stream waits for a reader that takes nothing."""

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Call:
    endpoint: Endpoint
    context: CallContext
    accept_by: int
    reply: str
    connection: int
    sign_at: float
    until: float
    flow: str = ""
    """By what the server and the reader of its stream name it to this process; empty until that is needed."""
    outlet: StreamOutlet | None = None
    is_left: bool = False
    is_stopped: bool = False
    failure: PlatformError | None = None
    has_failed: bool = False
    began: float = field(default_factory=perf_counter)  # uvloop's own clock stands still while it works


async def settle(client: Client) -> None:
    """Returns when the server has applied all that was sent. One flush is not enough: its PING overtakes what waits."""
    await client.flush()
    await client.flush()


class Responder:
    """Serves endpoints. Each call is a task of its own: nats-py runs the callbacks of a subscription one by one."""

    def __init__(
        self,
        client: BusClient,
        service: str,
        instance: str,
        process: str,
        *,
        reader_patience: float = READER_PATIENCE_S,
    ) -> None:
        self._client = client
        self._service = service
        self._endpoints: dict[str, Endpoint] = {}
        self._statistics: dict[str, Statistics] = {}
        self._calls: dict[asyncio.Task[None], _Call] = {}
        self._flow = f"{flow_of(service)}{process}."
        self._flows: dict[str, asyncio.Task[None]] = {}
        self._reader_patience = reader_patience
        self._direct = directly_to(service, instance)
        self._subscriptions: list[Subscription] = []
        self._keeper: asyncio.Task[None] | None = None
        self._connection = 0
        self._admission = Admission(service)
        self._loop = asyncio.get_running_loop()

    @property
    def statistics(self) -> Mapping[str, Statistics]:
        """What is served here, by subject, and what came of it."""
        return self._statistics

    async def start(self, endpoints: Sequence[Endpoint]) -> None:
        """Serves `endpoints`; returns when the server routes calls to them."""
        self._endpoints = {endpoint.subject: endpoint for endpoint in endpoints}
        self._statistics = {subject: Statistics() for subject in self._endpoints}
        if any(endpoint.kind.ends_with_its_caller for endpoint in endpoints):
            await self._client.hear(cancel_subject(self._service, "*"), self._cancel)
            await self._client.hear(f"{self._flow}*", self._hear_flow)
        self._subscriptions = [
            await self._client.hear(f"peanut.{self._service}.>", self._receive, queue=self._service),
            await self._client.hear(f"{self._direct}>", self._receive_directly),
        ]
        self._keeper = asyncio.create_task(self._keep())
        await settle(self._client)

    async def drain(self) -> None:
        """Takes no new calls and answers those in flight, for at most DRAIN_WITHIN_S seconds."""
        if self._subscriptions and self._client.is_connected:
            try:
                await asyncio.wait_for(self._unsubscribe(), UNSUBSCRIBE_WITHIN_S)
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
        for task, call in self._calls.items():
            if call.endpoint.kind.ends_with_its_caller:
                self._stop(task, call)

    async def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py leaves it bare

    def _receive_directly(self, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        self._receive(f"peanut.{self._service}.{subject.removeprefix(self._direct)}", reply, body, headers)

    def _receive(self, subject: str, reply: str, body: bytes, headers: bytes) -> None:
        if not reply.startswith("_INBOX_"):
            # Who chose another subject would have this service speak there with its own permissions.
            _log.warning("call_without_inbox", extra={"subject": subject})
            return
        try:
            call = self._admitted(subject, reply, read_headers(headers))
        except PlatformError as error:
            failure, answer = to_wire(error, trace_id="")
            self._send(reply, answer, write_headers(failure))
            if subject in self._statistics:
                self._statistics[subject].ended(0.0, failed=True)
            return
        task = self._loop.create_task(self._answer(call, body))
        self._calls[task] = call
        task.add_done_callback(self._ended)
        if call.flow:
            self._flows[call.flow] = task
            call.outlet = self._outlet(call, task)

    def _admitted(self, subject: str, reply: str, headers: Mapping[str, str]) -> _Call:
        context = from_headers(headers)
        endpoint = self._endpoints.get(subject)
        if endpoint is None:
            raise Unavailable(f"This version of the {self._service} service does not know {subject}.")
        begin_by = accept_by(headers)
        stream = self._stream_in(headers, reply) if endpoint.stream is not None else ""
        self._admission.enter(endpoint.kind, context)
        now = self._loop.time()
        until = now + max(context.remaining(), 0) + GRACE_AFTER_DEADLINE_S
        call = _Call(endpoint, context, begin_by, reply, self._connection, now + FIRST_SIGN_S, until)
        call.flow = stream
        return call

    def _stream_in(self, headers: Mapping[str, str], reply: str) -> str:
        stream = headers.get(STREAM, "")
        if stream and chunk_subject(reply, stream) and stream in self._flows:
            raise Malformed("This stream is already being sent.")
        return stream

    def _outlet(self, call: _Call, task: asyncio.Task[None]) -> StreamOutlet:
        return StreamOutlet(
            self._client,
            chunk_subject(call.reply, call.flow),
            flow=f"{self._flow}{call.flow}",
            patience=self._reader_patience,
            on_stall=partial(self._stall, task),
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        call = self._calls.pop(task)
        self._admission.leave(call.endpoint.kind, call.context)
        self._statistics[call.endpoint.subject].ended(perf_counter() - call.began, failed=call.has_failed)
        if call.flow:
            del self._flows[call.flow]

    async def _answer(self, call: _Call, body: bytes) -> None:
        trace_id = call.context.trace_id
        trace_id_of_call.set(trace_id)
        headers: Mapping[str, str] | None = None
        try:
            answer = await self._answer_to(call, body)
        except asyncio.CancelledError as error:
            headers, answer = to_wire(self._why_cancelled(error, call), trace_id=trace_id)
        except Exception as error:
            headers, answer = to_wire(error, trace_id=trace_id)
        call.has_failed = headers is not None
        if not self._is_awaited(call):
            return
        notes = noted_headers()
        if notes is not None:
            headers = {**(headers or {}), **notes}
        if call.outlet is not None:
            call.outlet.finish()
            headers = {**(headers or {}), CHUNKS: str(call.outlet.chunks)}
        self._send(call.reply, answer, write_headers(headers) if headers else b"")
        if len(answer) > LARGE:
            await self._client.sent()  # so that no more of them wait in memory than calls may run

    async def _answer_to(self, call: _Call, body: bytes) -> bytes:
        if call.accept_by < unix_ms():
            raise Overloaded(f"The {self._service} service came to this too late.")
        if call.outlet is not None and call.endpoint.stream is not None:
            answer = await call.endpoint.stream(body, call.context, call.outlet)
        else:
            answer = await call.endpoint.answer(body, call.context)
        if len(answer) + HEADERS_ROOM > self._client.max_payload:
            raise TooLarge("The answer is larger than a message on the bus may be.")
        return answer

    def _cancel(self, subject: str, _reply: str, body: bytes, _headers: bytes) -> None:
        """The caller waits no longer. That cannot come before its call: both are sent over one connection."""
        reply = cancelled_reply(subject, body)
        for task, call in self._calls.items():
            if call.reply == reply and call.endpoint.kind.ends_with_its_caller:
                self._left(task, call)

    def _hear_flow(self, subject: str, _reply: str, body: bytes, headers: bytes) -> None:
        """A reader says how far it is; or the server, in headers, that what was sent to a caller met nobody."""
        task = self._flows.get(subject.rpartition(".")[2])
        if task is None:
            return
        call = self._calls[task]
        if headers:
            if read_headers(headers).get(STATUS) == NOBODY_LISTENS:
                self._left(task, call)
        elif call.outlet is not None:
            call.outlet.consumed(int.from_bytes(body[:POSITION_BYTES], "big"))

    def _left(self, task: asyncio.Task[None], call: _Call) -> None:
        """Nobody waits for this any more."""
        call.is_left = True
        self._stop(task, call)

    def _stall(self, task: asyncio.Task[None]) -> None:
        call = self._calls.get(task)
        if call is None:  # it has ended; somebody whom it began still wrote
            return
        call.failure = ReaderStalled("Nothing was read of what was sent, and so it was stopped.")
        self._stop(task, call)

    def _stop(self, task: asyncio.Task[None], call: _Call) -> None:
        if call.outlet is not None:
            call.outlet.abandon()
        if not call.is_stopped:
            call.is_stopped = True  # once: the handler may have to clean up
            task.cancel()

    def _is_awaited(self, call: _Call) -> bool:
        return call.connection == self._connection and not call.is_left

    def _why_cancelled(self, error: asyncio.CancelledError, call: _Call) -> BaseException:
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            return error  # not by us: something that the handler awaited was cancelled
        if call.failure is not None:
            return call.failure
        if call.context.remaining() <= 0:
            return DeadlinePassed("The call was stopped, long past its deadline.")
        return OutcomeUnknown(f"The {self._service} service stopped while it worked on this.")

    async def _keep(self) -> None:
        """Tells the callers of long calls that they are worked on, and ends what outlived its deadline."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = self._loop.time()
            for task, call in tuple(self._calls.items()):
                if now > call.until:
                    call.until = float("inf")  # once: the handler may have to clean up
                    task.cancel()
                elif now > call.sign_at and self._is_awaited(call):
                    call.sign_at = now + SIGN_EVERY_S
                    if call.outlet is None or now > call.outlet.sent_at + SIGN_EVERY_S:
                        self._send(call.reply, b"", SIGN_OF_WORK, flow=self._flow_of(task, call))

    def _flow_of(self, task: asyncio.Task[None], call: _Call) -> str:
        """Where the server says that the caller is gone, if that ends the call."""
        if not call.endpoint.kind.ends_with_its_caller:
            return ""
        if not call.flow:
            call.flow = new_stream_id()
            self._flows[call.flow] = task
        return f"{self._flow}{call.flow}"

    def _send(self, reply: str, body: bytes, headers: bytes, *, flow: str = "") -> None:
        try:
            self._client.send(reply, body, reply=flow, headers=headers)
        except NatsError as error:
            _log.warning("reply_not_sent", extra={"error": type(error).__name__})
