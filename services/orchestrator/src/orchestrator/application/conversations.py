"""Use cases of stored conversations: take a turn, look, delete."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from orchestrator.application.leases import Leases, LeaseStore
from orchestrator.domain.conversation import NEW, Conversation, ConversationNotFound, Exchange
from shared.audit import AuditTrail, Resource
from shared.bus import CallContext
from shared.clock import from_unix_ms, to_unix_ms
from shared.contracts.audit import Action
from shared.database import DatabaseUnavailable
from shared.errors import FieldError, InvalidFields
from shared.paging import Cursors
from shared.principal import Role

KEPT_BEYOND_DEADLINE = timedelta(seconds=10)
"""How long a conversation that has no answer yet outlives its call's deadline: calls are cut off 5 s after it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to the one turn of a conversation, which `holder` has as long as it is renewed.

    Nothing of the conversation is forgotten before `until`.
    """

    owner: str
    id: str
    holder: str
    until: datetime


class Place(NamedTuple):
    """Where a page of conversations begins: after the one that was used then and has this id."""

    updated_at: datetime
    id: str


class ConversationStore(LeaseStore, Protocol):
    """Where conversations are kept. One that has expired is not there; one without an exchange is only leased."""

    async def begin(self, lease: Lease, *, now: datetime) -> Sequence[Exchange]:
        """Takes the lease, which lapses LEASE from now, and returns what was said; begins what is not there.

        Raises ConversationBusy or ConversationUnreadable.
        """
        ...

    async def keep(self, lease: Lease, exchange: Exchange, agent_id: str, model: str) -> None:
        """Adds the exchange within the bounds and ends the lease; nothing is added to what was deleted meanwhile.

        Raises ConversationOvertaken when the lease had lapsed and another one was taken.
        """
        ...

    async def release(self, lease: Lease) -> None:
        """Ends the lease, if it is there; a conversation that has no exchange goes with it."""
        ...

    async def page(self, owner: str, after: Place | None, limit: int, *, now: datetime) -> Sequence[Conversation]:
        """At most `limit` of them, the last used first."""
        ...

    async def get(self, owner: str, id: str, *, now: datetime) -> tuple[Conversation, Sequence[Exchange]] | None:
        """One with all that was said, the oldest first; raises ConversationUnreadable."""
        ...

    async def exists(self, owner: str, id: str, *, now: datetime) -> bool:
        """Whether it is there, be it only leased."""
        ...

    async def remove(self, owner: str, id: str) -> bool:
        """Forgets it, and its lease. False when it was not there."""
        ...


@dataclass(frozen=True, slots=True)
class Page:
    """Some conversations, the last used first; `next_cursor` is None on the last page."""

    items: Sequence[Conversation]
    next_cursor: str | None


class Turn:
    """A message of a conversation that is being answered. `id` is None when nothing is stored."""

    def __init__(self, id: str | None, message: str, said: Sequence[Exchange], now: Callable[[], datetime]) -> None:
        self.id = id
        self.history = [message for exchange in said for message in _messages(exchange)]
        self.answer: tuple[Exchange, str, str] | None = None
        self._message = message
        self._now = now
        self._began = now()

    def answered(self, text: str, *, agent_id: str, model: str) -> None:
        """Notes the answer; it is stored at the end of the block."""
        self.answer = (Exchange(self._message, text, self._began, self._now()).fitted(), agent_id, model)


class Conversations:
    """The use cases. Everybody has their own: what others have is not there."""

    def __init__(
        self,
        store: ConversationStore,
        leases: Leases,
        trail: AuditTrail,
        cursors: Cursors,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._leases = leases
        self._trail = trail
        self._cursors = cursors
        self._now = now
        self._new_id = new_id

    @asynccontextmanager
    async def turn(self, session_id: str | None, message: str, context: CallContext) -> AsyncIterator[Turn]:
        """The block answers `message` in that conversation of the caller's; `new` begins one, None stores nothing.

        What `Turn.answered` has noted is durable after the block; when the block raises, nothing is stored, nor when
        the conversation is deleted meanwhile. Raises ConversationBusy while another turn goes on, on any replica, and
        ConversationOvertaken when this replica was held up for so long that another turn has begun.
        """
        if session_id is None:
            yield Turn(None, message, (), self._now)
            return
        lease = Lease(
            owner=context.principal.user_id,
            id=self._new_id() if session_id == NEW else session_id,
            holder=self._new_id(),
            until=from_unix_ms(context.deadline) + KEPT_BEYOND_DEADLINE,
        )
        with self._leases.held(lease.holder):
            try:
                said = await self._store.begin(lease, now=self._now())
            except asyncio.CancelledError:
                await self._release(lease)  # it may have been taken all the same
                raise
            turn, is_kept = Turn(lease.id, message, said, self._now), False
            try:
                yield turn
                if turn.answer is not None:
                    await self._store.keep(lease, *turn.answer)
                    is_kept = True
            finally:
                if not is_kept:
                    await self._release(lease)

    async def list(self, limit: int, cursor: str | None, context: CallContext) -> Page:
        """A page of the caller's conversations, the last used first; raises InvalidFields for a cursor of no list."""
        context.principal.must_be(Role.VIEWER)
        after = None if cursor is None else _place(self._cursors.position(cursor))
        found = await self._store.page(context.principal.user_id, after, limit + 1, now=self._now())
        items = found[:limit]
        if len(found) == len(items):
            return Page(items, None)
        return Page(items, self._cursors.after(f"{to_unix_ms(items[-1].updated_at)} {items[-1].id}"))

    async def get(self, id: str, context: CallContext) -> tuple[Conversation, Sequence[Exchange]]:
        """One with all that was said; raises ConversationNotFound or ConversationUnreadable."""
        context.principal.must_be(Role.VIEWER)
        found = await self._store.get(context.principal.user_id, id, now=self._now())
        if found is None:
            raise ConversationNotFound(id)
        return found

    async def delete(self, id: str, context: CallContext) -> None:
        """Forgets one, and the answer to come of a turn that goes on; raises ConversationNotFound."""
        context.principal.must_be(Role.VIEWER)
        owner = context.principal.user_id
        if not await self._store.exists(owner, id, now=self._now()):
            raise ConversationNotFound(id)
        async with self._trail.change(Action.CONVERSATION_DELETED, Resource("conversation", id), context):
            if not await self._store.remove(owner, id):
                raise ConversationNotFound(id)

    async def _release(self, lease: Lease) -> None:
        with suppress(DatabaseUnavailable):  # the log has it; the lease lapses
            await asyncio.shield(self._store.release(lease))


def _messages(exchange: Exchange) -> tuple[dict[str, str], dict[str, str]]:
    return {"role": "user", "content": exchange.question}, {"role": "assistant", "content": exchange.answer}


def _place(position: str) -> Place:
    milliseconds, _, id = position.partition(" ")
    if not milliseconds.isdigit():
        raise InvalidFields("The cursor is of another list.", errors=(FieldError("cursor", "take it from nextCursor"),))
    return Place(from_unix_ms(int(milliseconds)), id)
