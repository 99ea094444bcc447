"""The asking side of calls: one inbox for all of them, and failures instead of silence."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

from nats.errors import Error as NatsError

from shared.bus.cancelling import cancel_subject, inbox_of, replies_of
from shared.bus.client import BusClient
from shared.bus.context import CallContext, to_headers
from shared.bus.contract import Contract, Kind
from shared.bus.direct import direct_subject, replica_in, who_is_there
from shared.bus.failures import CODE, from_wire
from shared.bus.headers import NOBODY_LISTENS, STATUS, read_headers, write_headers
from shared.bus.notes import hear_notes
from shared.bus.pending import LOST_AFTER_S, Pending
from shared.bus.streams import STREAM
from shared.clock import unix_ms
from shared.errors import DeadlinePassed, PlatformError, TooLarge, Unavailable

SIGN_OF_WORK = write_headers({"Peanut-Working": "1"})
"""The headers of the empty message by which a replica says that it still works on a call."""

SEEK_AFTER_S = {Kind.READ: 0.75, Kind.CHANGE: float("inf"), Kind.DISPATCH: 1.05, Kind.STREAM: 1.05}
"""How long a replica may say nothing of a call before another is looked for; its first sign of work comes sooner.

What costs something when it is done twice waits until the silent one may not begin it any more (`Peanut-Accept-By`).
"""

SEEK_FOR_S = 0.5
"""How long another replica has to say that it is there."""

PATIENCE_S = dict.fromkeys(Kind, LOST_AFTER_S) | {Kind.READ: SEEK_AFTER_S[Kind.READ]}
"""How long a replica may say nothing of a call before it is given up, unless another is looked for."""

RECONNECT_WITHIN_S = 1.0
HEADERS_ROOM = 64 * 1024


class NoResponder(Unavailable):
    """Nobody serves this subject right now; nothing was done."""


class OutcomeUnknown(Unavailable):
    """The way to the replica broke while it worked: whether the call was done is not known."""

    reason = "outcome-unknown"


class ReplicaSilent(OutcomeUnknown):
    """The replica that got the call neither answers nor says that it works on it: it is gone, or paused.

    `other` is one that is there, when it was silent from the beginning and another was looked for.
    """

    def __init__(self, detail: str, *, other: str | None = None) -> None:
        super().__init__(detail)
        self.other = other


class Requester:
    """Sends calls and matches replies to them.

    nats-py's own `request` waits for its whole time-out when the connection breaks or the replica is killed; here a
    call fails as soon as either is known, because a replica says each second that it still works on it.
    """

    def __init__(self, client: BusClient, user: str, process: str, *, finds_replicas: bool) -> None:
        self._finds_replicas = finds_replicas
        self._patience_s = PATIENCE_S
        if finds_replicas:
            self._patience_s = PATIENCE_S | {Kind.READ: SEEK_AFTER_S[Kind.READ] + SEEK_FOR_S}
        self._tasks: set[asyncio.Task[None]] = set()
        self._client = client
        self._user = user
        self._process = process
        self._tokens = count()
        self._pending: dict[str, Pending] = {}
        self._untold: list[tuple[str, str]] = []
        self._connected = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Subscribes to the inbox."""
        await self._client.hear(f"{inbox_of(self._user)}*.{self._process}.*", self._receive)

    async def exchange(
        self,
        contract: Contract[Any, Any],
        body: bytes,
        context: CallContext,
        *,
        ask_again_after: float | None = None,
        replica: str | None = None,
    ) -> bytes:
        """Sends one call, to `replica` or whichever the server picks, and returns the reply's body.

        With no answer `ask_again_after` seconds, the same is sent once more, and the first answer counts: the server
        then most likely picks another replica. Only for what does no harm when it is done twice.

        Where this ends without an answer, because its task is cancelled, the deadline passes or the replica is silent,
        the service is told that nobody waits any more, if calls of this kind end with their caller.

        Raises the failure that the service sent, NoResponder, OutcomeUnknown, DeadlinePassed, TooLarge or Unavailable.
        """
        call = await self.begin(contract, body, context, ask_again_after=ask_again_after, replica=replica)
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
        ask_again_after: float | None = None,
        replica: str | None = None,
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
        kind = contract.kind
        subject = contract.subject if replica is None else direct_subject(contract.name, replica)
        call = Pending(loop.create_future(), token, service, kind, now + remaining, now, self._patience_s[kind])
        send = partial(self._client.send, subject, body, reply=self._reply(service, token), headers=headers)
        if ask_again_after is not None:
            call.meanwhile, call.meanwhile_at = lambda _: send(), now + ask_again_after
        elif self._finds_replicas and replica is None:
            call.meanwhile, call.meanwhile_at = self._seek, now + SEEK_AFTER_S[kind]
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
        if not call.is_answered and call.kind.ends_with_its_caller:
            self._cancel(call.service, call.token)

    def disconnected(self) -> None:
        """The connection broke: replies to calls in flight may be lost with it."""
        self._connected.clear()
        for pending in self._pending.values():
            pending.fail(OutcomeUnknown(f"The bus broke while {pending.service} worked on this."))

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

    def _reply(self, service: str, token: str) -> str:
        return f"{replies_of(self._user, service)}{self._process}.{token}"

    def _cancel(self, service: str, token: str) -> None:
        call = self._reply(service, token).removeprefix(inbox_of(self._user))
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

    def _seek(self, call: Pending) -> None:
        if call.is_silent:
            self._begin_task(self._find_another(call))

    def _begin_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find_another(self, call: Pending) -> None:
        """Fails a call with the name of a replica that is there, unless something is heard of it meanwhile."""
        now = self._loop.time()
        token = f"{next(self._tokens):x}"
        question = Pending(
            self._loop.create_future(), token, call.service, Kind.READ, now + SEEK_FOR_S, now, SEEK_FOR_S
        )
        question.timer = self._loop.call_at(question.due, self._look_after, question)
        self._pending[token] = question
        try:
            self._client.send(who_is_there(call.service), b"", reply=self._reply(call.service, token))
            answer, _ = await question.reply
        except (NatsError, PlatformError):
            return  # nobody is there, so there is nobody better to wait for
        finally:
            self.leave(question)
        replica = replica_in(answer, call.service)
        if replica is not None and call.is_silent:
            call.fail(ReplicaSilent(f"The replica of {call.service} that was asked is gone.", other=replica))

    def _look_after(self, pending: Pending) -> None:
        now = self._loop.time()
        if pending.meanwhile is not None and now >= pending.meanwhile_at:
            with suppress(NatsError):  # a broken connection fails the call by itself
                pending.meanwhile(pending)
            pending.meanwhile, pending.meanwhile_at = None, float("inf")
        if now >= pending.deadline:
            pending.fail(DeadlinePassed(f"No answer from {pending.service} in time."))
            return
        if now >= pending.due:
            pending.timer = self._loop.call_at(pending.deadline, self._look_after, pending)
            self._begin_task(self._give_up(pending))
            return
        pending.timer = self._loop.call_at(pending.due, self._look_after, pending)

    async def _give_up(self, pending: Pending) -> None:
        """Fails a call whose replica is silent, unless something that it said was only not read yet.

        A process that stood still, or that others tell more than it can read, hears it late.
        """
        heard = pending.heard
        with suppress(NatsError, OSError):  # a broken connection fails the call by itself
            await self._client.all_is_read()
        if pending.heard == heard:
            pending.fail(ReplicaSilent(f"The replica of {pending.service} that worked on this is gone."))
        elif pending.token in self._pending and pending.timer is not None:
            pending.timer.cancel()
            pending.timer = self._loop.call_at(pending.due, self._look_after, pending)


def body_of(answer: bytes, headers: Mapping[str, str], service: str) -> bytes:
    """The body of an answer, whose notes are heard; raises the failure that it is, or NoResponder."""
    if headers.get(STATUS) == NOBODY_LISTENS:
        raise NoResponder(f"The {service} service is not running.")
    hear_notes(headers)
    if CODE in headers:
        raise from_wire(headers, answer)
    return answer
