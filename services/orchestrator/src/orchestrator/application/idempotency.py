"""Requests with an idempotency key: each is done once, whoever sends it again, to whichever replica."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from orchestrator.application.leases import Leases, LeaseStore
from orchestrator.domain.idempotency import (
    HEADER,
    Answer,
    Failure,
    IdempotencyKeyReused,
    KeyedRequest,
    Outcome,
    OutcomeLost,
)
from shared.bus import CallContext
from shared.bus.notes import AGENT, hear_notes, note_agent, note_replayed, noted_headers
from shared.database import DatabaseUnavailable
from shared.errors import DeadlinePassed, FieldError, InvalidFields, PlatformError, RemoteFailure

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.5
CLEAN_UP_WITHIN_S = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a key: the request, until when somebody is known to work on it, and what came of it."""

    fingerprint: str
    leased_until: datetime
    outcome: Outcome | None


class ClaimStore(LeaseStore, Protocol):
    """Where keys are remembered. A claim is named by its holder; the same one is never another's."""

    async def claim(self, request: KeyedRequest, holder: str, *, now: datetime) -> Record | None:
        """Claims the key, which lapses LEASE from now; returns what is known of it when it is already taken.

        Raises TooManyKeys.
        """
        ...

    async def find(self, request: KeyedRequest, *, now: datetime) -> Record | None:
        """What is known of the key."""
        ...

    async def conclude(self, request: KeyedRequest, holder: str, outcome: Outcome, *, now: datetime) -> None:
        """Keeps what came of it."""
        ...

    async def release(self, request: KeyedRequest, holder: str) -> None:
        """Forgets the claim, if it is there: nothing was done."""
        ...


class Claim:
    """A request that is worked on."""

    effect_began = False

    def effect_begins(self) -> None:
        """From here on the work costs something: its failure is kept, too. Before, one leaves the key free."""
        self.effect_began = True


Work = Callable[[Claim], Awaitable[bytes]]


class Idempotency:
    """Does the work of each request with a key once and tells its outcome again."""

    def __init__(self, store: ClaimStore, *, now: Callable[[], datetime], new_id: Callable[[], str]) -> None:
        self._store = store
        self._now = now
        self._new_id = new_id
        self._working: dict[KeyedRequest, asyncio.Task[bytes]] = {}
        self._leases = Leases(store, now=now)

    async def once(self, key: str, subject: str, body: bytes, context: CallContext, work: Work) -> bytes:
        """The answer of `work`, or of the first request with this key.

        The outcome is stored before this returns. One that was stored is told again for KEEP, and noted as such; one
        that another is working on is waited for. The work goes on when its client leaves, until its deadline.

        Raises what `work` raises or has raised, IdempotencyKeyReused, OutcomeLost, TooManyKeys or DeadlinePassed.
        """
        request, holder = KeyedRequest.of(context.principal, key, subject, body), self._new_id()
        pause = FIRST_PAUSE_S
        record = await self._claim(request, holder)
        while record is not None:
            if record.fingerprint != request.fingerprint:
                raise IdempotencyKeyReused
            if record.outcome is not None:
                return _told_again(record.outcome)
            if record.leased_until <= self._now():
                raise OutcomeLost
            await self._wait(request, pause, context)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            record = await self._store.find(request, now=self._now()) or await self._claim(request, holder)
        return await self._done(request, holder, context, work)

    @asynccontextmanager
    async def keeping_claims(self) -> AsyncIterator[None]:
        """Says each second that this replica is alive, while the block runs; what is not done by its end is cut off."""
        async with self._leases.renewing():
            try:
                yield
            finally:
                cut_off = tuple(self._working.values())
                for task in cut_off:
                    task.cancel()
                if cut_off:
                    await asyncio.wait(cut_off, timeout=CLEAN_UP_WITHIN_S)

    async def _claim(self, request: KeyedRequest, holder: str) -> Record | None:
        try:
            return await self._store.claim(request, holder, now=self._now())
        except asyncio.CancelledError:
            await asyncio.shield(self._release(request, holder))  # it may have been claimed all the same
            raise

    async def _wait(self, request: KeyedRequest, pause: float, context: CallContext) -> None:
        """Waits for who works on the request: here until it is done, elsewhere for a pause."""
        left = context.remaining()
        if left <= 0:
            raise DeadlinePassed("An earlier request with this Idempotency-Key is still being worked on.")
        working = self._working.get(request)
        if working is None:
            await asyncio.sleep(min(pause, left))
        else:
            await asyncio.wait((working,), timeout=left)

    async def _done(self, request: KeyedRequest, holder: str, context: CallContext, work: Work) -> bytes:
        noting = copy_context()
        task = asyncio.create_task(self._work(request, holder, context, work), context=noting)
        self._working[request] = task
        task.add_done_callback(partial(self._ended, request))
        try:
            await _seen_through(task, context)
        finally:
            notes = noting.run(noted_headers)
            if notes is not None:
                hear_notes(notes)
        return task.result()

    async def _work(self, request: KeyedRequest, holder: str, context: CallContext, work: Work) -> bytes:
        claim = Claim()
        with self._leases.held(holder):
            try:
                body = await work(claim)
                await self._conclude(request, holder, Answer(body, _noted_agent()))
                return body
            except BaseException as error:
                if not claim.effect_began:
                    await self._release(request, holder)
                elif not isinstance(error, asyncio.CancelledError) or context.remaining() <= 0:
                    await self._conclude(request, holder, _failure(error))
                raise

    def _ended(self, request: KeyedRequest, task: asyncio.Task[bytes]) -> None:
        if self._working.get(request) is task:  # a key that was released may be another's already
            del self._working[request]
        if not task.cancelled():
            task.exception()  # its caller is told, if there still is one; asyncio would say that nobody was

    async def _conclude(self, request: KeyedRequest, holder: str, outcome: Outcome) -> None:
        try:
            await self._store.conclude(request, holder, outcome, now=self._now())
        except DatabaseUnavailable:  # who waits gets the answer it has paid for; who comes back, that it is lost
            _log.error("outcome_not_stored")

    async def _release(self, request: KeyedRequest, holder: str) -> None:
        with suppress(DatabaseUnavailable):  # the log has it; the claim lapses
            await self._store.release(request, holder)


def require_no_key(context: CallContext) -> None:
    """Raises InvalidFields when a request whose answer is streamed came with a key: a stream is not told again."""
    if context.idempotency_key:
        raise InvalidFields(
            "A request with an Idempotency-Key cannot be streamed.", errors=(FieldError(HEADER, "leave it out"),)
        )


async def _seen_through(task: asyncio.Task[bytes], context: CallContext) -> None:
    """Waits for the work though the client leaves, which has a key to come back with. Cut off once more, it ends.

    As the call goes on, it is counted among those that run at once, and waited for when the replica stops.
    """
    caller, has_left = asyncio.current_task(), False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            if caller is None or has_left or context.remaining() <= 0:
                task.cancel()
                await asyncio.wait((task,), timeout=CLEAN_UP_WITHIN_S)
                raise
            caller.uncancel()
            has_left = True


def _told_again(outcome: Outcome) -> bytes:
    note_replayed()
    if outcome.agent:
        note_agent(outcome.agent)
    if isinstance(outcome, Answer):
        return outcome.body
    raise RemoteFailure(
        outcome.code, outcome.reason, outcome.detail, errors=outcome.errors, retry_after=outcome.retry_after
    )


def _failure(error: BaseException) -> Failure:
    if isinstance(error, asyncio.CancelledError):
        error = DeadlinePassed("The time was up before there was an answer.")
    elif not isinstance(error, PlatformError):  # its own words are for the log, where it goes now
        error = PlatformError("Something went wrong on our side.")
    return Failure(error.code, error.reason, error.detail, error.errors, error.retry_after, _noted_agent())


def _noted_agent() -> str:
    return (noted_headers() or {}).get(AGENT, "")
