"""The asking side of calls: one inbox for all of them, and failures instead of silence."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from nats.errors import Error as NatsError

from shared.bus.cancelling import cancel_subject, inbox_of
from shared.bus.client import BusClient
from shared.bus.context import CallContext, to_headers
from shared.bus.contract import Contract
from shared.bus.failures import CODE, from_wire
from shared.bus.headers import NOBODY_LISTENS, STATUS, read_headers, write_headers
from shared.bus.notes import hear_notes
from shared.bus.streams import STREAM
from shared.clock import unix_ms
from shared.errors import DeadlinePassed, TooLarge, Unavailable

SIGN_OF_WORK = write_headers({"Peanut-Working": "1"})
"""The headers of the empty message by which a replica says that it still works on a call."""

LOST_AFTER_S = 3.0
STALLED_S = 0.25
RECONNECT_WITHIN_S = 1.0
HEADERS_ROOM = 64 * 1024


class NoResponder(Unavailable):
    """Nobody serves this subject right now; nothing was done."""


class OutcomeUnknown(Unavailable):
    """The way to the replica broke while it worked: whether the call was done is not known."""

    reason = "outcome-unknown"


class ReplicaSilent(OutcomeUnknown):
    """The replica that got the call neither answers nor says that it works on it: it is gone, or paused."""


@dataclass(slots=True, eq=False)
class Pending:
    """A call that waits for its answer: `reply` becomes that, body and headers, or the failure that nobody sent."""

    reply: asyncio.Future[tuple[bytes, bytes]]
    token: str
    service: str
    ends_with_its_caller: bool
    deadline: float
    heard: float
    patience: float
    ask_again: Callable[[], None] | None = None
    ask_again_at: float = float("inf")
    timer: asyncio.TimerHandle | None = field(default=None)

    @property
    def due(self) -> float:
        """When something has to happen unless the answer comes."""
        return min(self.deadline, self.heard + self.patience, self.ask_again_at)

    def is_worked_on(self, now: float) -> None:
        """The replica has said so, in one way or another."""
        self.heard = now
        self.patience = LOST_AFTER_S


class Requester:
    """Sends calls and matches replies to them.

    nats-py's own `request` waits for its whole time-out when the connection breaks or the replica is killed; here a
    call fails as soon as either is known, because a replica says each second that it still works on it.
    """

    def __init__(self, client: BusClient, user: str, inbox: str) -> None:
        self._client = client
        self._user = user
        self._inbox = inbox
        self._tokens = count()
        self._pending: dict[str, Pending] = {}
        self._untold: list[tuple[str, str]] = []
        self._connected = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Subscribes to the inbox."""
        await self._client.hear(f"{self._inbox}.*", self._receive)

    async def exchange(
        self,
        contract: Contract[Any, Any],
        body: bytes,
        context: CallContext,
        *,
        patience: float = LOST_AFTER_S,
        ask_again_after: float | None = None,
    ) -> bytes:
        """Sends one call and returns the reply's body. `patience` is how long the replica may say nothing at first.

        With no answer `ask_again_after` seconds, the same is sent once more, and the first answer counts: the server
        then most likely picks another replica. Only for what does no harm when it is done twice.

        Where this ends without an answer, because its task is cancelled, the deadline passes or the replica is silent,
        the service is told that nobody waits any more, if calls of this kind end with their caller.

        Raises the failure that the service sent, NoResponder, OutcomeUnknown, DeadlinePassed, TooLarge or Unavailable.
        """
        call = await self.begin(contract, body, context, patience=patience, ask_again_after=ask_again_after)
        try:
            answer, said = await call.reply
        finally:
            self.leave(call)
        return body_of(answer, read_headers(said), call.service) if said else answer

    async def begin(
        self,
        contract: Contract[Any, Any],
        body: bytes,
        context: CallContext,
        *,
        patience: float = LOST_AFTER_S,
        ask_again_after: float | None = None,
        stream: str | None = None,
    ) -> Pending:
        """Sends one call, which names `stream` when it is given. It has to be left in the end, answered or not."""
        now_ms = unix_ms()
        service = contract.service
        named = to_headers(context, now_ms)
        if stream is not None:
            named[STREAM] = stream
        headers = write_headers(named)
        if len(body) + len(headers) + HEADERS_ROOM > self._client.max_payload:
            raise TooLarge("This is larger than a message on the bus may be.")
        if not self._client.is_connected:
            await self._reconnected(context)
            now_ms = unix_ms()
        remaining = (context.deadline - now_ms) / 1000
        if remaining <= 0:
            raise DeadlinePassed(f"There was no time left to ask {service}.")
        loop = self._loop
        now = loop.time()
        token = f"{next(self._tokens):x}"
        ends = contract.kind.ends_with_its_caller
        call = Pending(loop.create_future(), token, service, ends, now + remaining, now, patience)
        send = partial(self._client.send, contract.subject, body, reply=f"{self._inbox}.{token}", headers=headers)
        if ask_again_after is not None:
            call.ask_again, call.ask_again_at = send, now + ask_again_after
        call.timer = loop.call_at(call.due, self._look_after, call)
        self._pending[token] = call
        try:
            send()
        except NatsError as error:
            self.leave(call)
            raise Unavailable("The bus is not reachable.") from error
        return call

    def leave(self, call: Pending) -> None:
        """Nobody waits for this call any more; without an answer, the service is told so."""
        del self._pending[call.token]
        if call.timer is not None:
            call.timer.cancel()
        if not _is_answered(call.reply) and call.ends_with_its_caller:
            self._cancel(call.service, call.token)

    def disconnected(self) -> None:
        """The connection broke: replies to calls in flight may be lost with it."""
        self._connected.clear()
        for pending in self._pending.values():
            _fail(pending, OutcomeUnknown(f"The bus broke while {pending.service} worked on this."))

    def reconnected(self) -> None:
        """The connection is there again. Services that it had not broken for still work for nobody, and are told so."""
        self._connected.set()
        untold, self._untold = self._untold, []
        for service, token in untold:
            self._cancel(service, token)

    async def _reconnected(self, context: CallContext) -> None:
        self._connected.clear()  # nats-py notices a break some turns before it tells of it
        try:
            async with asyncio.timeout(max(min(RECONNECT_WITHIN_S, context.remaining()), 0)):
                await self._connected.wait()
        except TimeoutError:
            raise Unavailable("The bus is not reachable.") from None

    def _cancel(self, service: str, token: str) -> None:
        call = f"{self._inbox}.{token}".removeprefix(inbox_of(self._user))
        try:
            self._client.send(cancel_subject(service, self._user), call.encode())
        except NatsError:
            self._untold.append((service, token))

    def _receive(self, subject: str, _reply: str, body: bytes, headers: bytes) -> None:
        pending = self._pending.get(subject.rpartition(".")[2])
        if pending is None or pending.reply.done():
            return  # its caller has given up
        if headers == SIGN_OF_WORK:
            pending.is_worked_on(self._loop.time())
        else:
            pending.reply.set_result((body, headers))

    def _look_after(self, pending: Pending) -> None:
        now = self._loop.time()
        if pending.ask_again is not None and now >= pending.ask_again_at:
            with suppress(NatsError):  # a broken connection fails the call by itself
                pending.ask_again()
            pending.ask_again, pending.ask_again_at = None, float("inf")
        if now >= pending.deadline:
            _fail(pending, DeadlinePassed(f"No answer from {pending.service} in time."))
            return
        if now > pending.due + STALLED_S:
            pending.heard = now  # it was this process that stood still; what was said to it comes next
        if now >= pending.due:
            _fail(pending, ReplicaSilent(f"The replica of {pending.service} that worked on this is gone."))
            return
        pending.timer = self._loop.call_at(pending.due, self._look_after, pending)


def _is_answered(reply: asyncio.Future[tuple[bytes, bytes]]) -> bool:
    """Looks at a failure too, which asyncio would complain of where it comes together with a cancellation."""
    return reply.done() and not reply.cancelled() and reply.exception() is None


def _fail(pending: Pending, error: Exception) -> None:
    if not pending.reply.done():
        pending.reply.set_exception(error)


def body_of(answer: bytes, headers: Mapping[str, str], service: str) -> bytes:
    """The body of an answer, whose notes are heard; raises the failure that it is, or NoResponder."""
    if headers.get(STATUS) == NOBODY_LISTENS:
        raise NoResponder(f"The {service} service is not running.")
    hear_notes(headers)
    if CODE in headers:
        raise from_wire(headers, answer)
    return answer
