"""The audit log as it grows, told to operators: entry by entry, from where each one is, at the pace of who reads."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple

from edge.http.credentials import Shown, credential_of
from edge.http.request import Request
from edge.http.response import Streamed
from edge.identities import Known
from edge.listeners import Listeners
from edge.live_events import OPENING, end_event, event_of
from shared.bus import Bus, CallContext, Kind, read
from shared.clock import unix_ms
from shared.contracts.audit_export import ENTRIES_COMMITTED, FOLLOW, EntriesCommitted, Follow, Followed
from shared.contracts.events import StreamDropped
from shared.errors import FieldError, InvalidFields, PlatformError
from shared.ids import new_id
from shared.principal import Role

MAX_BEHIND = 10_000
"""So far back a stream goes on; what came before is in an export."""
ASK_EVERY_S = 2.0
"""How long after the last answer it is asked again without news, which may be lost."""
AT_ONCE = 4
"""Questions to the audit service that may be under way: those of people who are behind wait for each other."""

_log = logging.getLogger(__name__)


class Told(NamedTuple):
    """Events, and the index of the last entry that they tell of."""

    events: bytes
    last: int


class Follower:
    """One stream: a `Source` of entries after `at`, the index of the last one that it has told."""

    role = Role.OPERATOR

    def __init__(self, feed: "AuditFeed", shown: Shown, context: CallContext) -> None:
        self.shown = shown
        self.context = context
        self.at = -1
        self._feed = feed
        self._ended: asyncio.Future[PlatformError] = asyncio.get_running_loop().create_future()
        self._has_begun = False
        self._is_over = False

    @property
    def answer(self) -> bytes:
        """There is none: a stream begins at once."""
        raise RuntimeError("events have no ordinary answer")

    async def piece(self) -> bytes | None:
        """The next entries; waits until there are some. Raises what the audit service fails with."""
        if self._is_over:
            return None
        if not self._has_begun:
            self._has_begun = True
            return OPENING
        coming = asyncio.create_task(self._feed.after(self.at, self.context))
        try:
            either: set[asyncio.Future[Any]] = {coming, self._ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not coming.done():
                coming.cancel()
        if self._ended.done():
            self._is_over = True
            return end_event(self._ended.result(), "")
        told = coming.result()
        self.at = told.last
        return told.events

    def end(self, why: PlatformError) -> None:
        """The last it hears is why."""
        if not self._ended.done():
            self._ended.set_result(why)


class AuditFeed:
    """Asks the audit service for entries; who stands at the same place shares the answer."""

    def __init__(self, bus: Bus, listeners: Listeners) -> None:
        self._bus = bus
        self._listeners = listeners
        self._last = -1
        self._news = asyncio.Event()
        self._asking: dict[int, asyncio.Task[Followed]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def start(self) -> None:
        """Hears from now on that the log has grown."""
        await self._bus.subscribe(ENTRIES_COMMITTED.subject, self._hear)

    def followed_by(self, request: Request, known: Known, after: int | None) -> Streamed:
        """The stream of entries after that one, or of those to come, for this caller."""
        user_id = known.identity.principal.user_id
        shown = credential_of(request)
        assert shown is not None  # by it the caller is known

        @asynccontextmanager
        async def following() -> AsyncIterator[Follower]:
            follower = Follower(self, shown, request.context(Kind.READ))
            with self._listeners.admitted(follower, user_id):
                last = await self._last_index(follower.context)
                if after is not None and after > last:
                    error = FieldError("Last-Event-ID", f"must be at most {last}")
                    raise InvalidFields("The log does not go so far.", errors=(error,))
                follower.at = last if after is None else after
                yield follower

        return Streamed(following, end_event)

    async def after(self, index: int, context: CallContext) -> Told:
        """The next entries after that one, once there are some; what is too far back is told to be dropped."""
        has_more = self._last > index
        while True:
            if not has_more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(ASK_EVERY_S):
                        await self._news.wait()
            behind = self._last - index
            if behind > MAX_BEHIND:
                missed = behind - MAX_BEHIND
                dropped = event_of("dropped", StreamDropped(count=missed))
                return Told(b"id: %d\n%b" % (index + missed, dropped), index + missed)
            found = await self._ask_once(index, context)
            if found.entries:
                told = [b"id: %d\n%b" % (entry.index, event_of("entry", entry)) for entry in found.entries]
                return Told(b"".join(told), found.entries[-1].index)
            has_more = False

    async def _last_index(self, context: CallContext) -> int:
        """How far the log goes; raises Forbidden for who may not read it."""
        found = await self._bus.call(FOLLOW, Follow(after=None), context)
        self._note(found.last_index)
        return found.last_index

    async def _ask_once(self, index: int, context: CallContext) -> Followed:
        task = self._asking.get(index)
        if task is None:
            task = self._asking[index] = asyncio.create_task(self._ask(index, context))
            task.add_done_callback(lambda done: self._asked(index, done))
        return await asyncio.shield(task)

    async def _ask(self, index: int, context: CallContext) -> Followed:
        async with self._turns:
            deadline = unix_ms() + round(Kind.READ.seconds * 1000)
            now = replace(context, deadline=deadline, event_id=new_id())
            found = await self._bus.call(FOLLOW, Follow(after=index), now)
        self._note(found.last_index)
        return found

    def _asked(self, index: int, task: asyncio.Task[Followed]) -> None:
        del self._asking[index]
        if not task.cancelled():
            task.exception()  # each waiter has been told

    async def _hear(self, body: bytes) -> None:
        try:
            self._note(read(EntriesCommitted, body).last_index)
        except PlatformError as error:
            _log.error("event_not_understood", extra={"subject": ENTRIES_COMMITTED.subject, "errors": error.errors})

    def _note(self, last: int) -> None:
        if last > self._last:
            self._last = last
            self._news.set()
            self._news = asyncio.Event()
