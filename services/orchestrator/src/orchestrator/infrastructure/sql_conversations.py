"""Conversations in SQL, their texts sealed: whoever reads the database learns who talked when, and not of what."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    delete,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.application.conversations import Lease, Place
from orchestrator.application.leases import LEASE
from orchestrator.domain.conversation import (
    KEEP,
    MAX_OF_OWNER,
    Conversation,
    ConversationBusy,
    ConversationOvertaken,
    ConversationUnreadable,
    Exchange,
    fitting,
    title_of,
)
from orchestrator.infrastructure.sql_agents import METADATA
from shared.clock import from_unix_ms, to_unix_ms
from shared.database import Database
from shared.ids import new_id
from shared.sealing import Seal, SealBroken

CONVERSATIONS = Table(
    "conversations",
    METADATA,
    Column("number", String(36), primary_key=True),  # its own: ids are the owners' choice and may come again
    Column("owner", String(64), nullable=False),
    Column("id", String(128), nullable=False),
    Column("agent_id", String(64), nullable=False),
    Column("model", String(200), nullable=False),
    Column("sealed_title", Text, nullable=False),
    Column("exchanges", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("holder", String(36)),
    Column("busy_until", BigInteger, nullable=False),
    UniqueConstraint("owner", "id", name="conversations_owner_id"),
    Index("conversations_owner_updated_at", "owner", "updated_at"),
    Index("conversations_expires_at", "expires_at"),
    Index("conversations_holder", "holder"),
)

EXCHANGES = Table(
    "conversation_exchanges",
    METADATA,
    Column("conversation", String(36), ForeignKey("conversations.number", ondelete="CASCADE"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("answered_at", BigInteger, nullable=False),
    Column("sealed", Text, nullable=False),
)


class SqlConversations:
    """The ConversationStore on a SQL database."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._seal = Seal(key)

    async def begin(self, lease: Lease, *, now: datetime) -> list[Exchange]:
        """Takes the lease, which lapses LEASE from now, and returns what was said; begins what is not there.

        Raises ConversationBusy or ConversationUnreadable.
        """
        at, until = to_unix_ms(now), to_unix_ms(lease.until)
        is_it = _is(lease.owner, lease.id)
        async with self._database.writing() as connection:
            row = (await connection.execute(select(*CONVERSATIONS.c).where(is_it).with_for_update())).one_or_none()
            if row is not None and row.busy_until > at:
                raise ConversationBusy
            if row is not None and row.expires_at > at:
                # It must not expire in the middle of its turn.
                leased = {
                    "holder": lease.holder,
                    "busy_until": to_unix_ms(now + LEASE),
                    "expires_at": max(row.expires_at, until),
                }
                await connection.execute(update(CONVERSATIONS).where(is_it).values(leased))
                return await self._said(connection, row)
            await connection.execute(delete(CONVERSATIONS).where(is_it))
            try:
                await connection.execute(insert(CONVERSATIONS).values(_leased_row(lease, now)))
            except IntegrityError:  # PostgreSQL: somebody has begun it just now
                raise ConversationBusy from None
            return []

    async def renew(self, holders: Collection[str], *, now: datetime) -> None:
        """Those of these leases that are still theirs lapse LEASE from now."""
        are_theirs = CONVERSATIONS.c.holder.in_(holders)
        async with self._database.writing() as connection:
            renewal = update(CONVERSATIONS).where(are_theirs).values(busy_until=to_unix_ms(now + LEASE))
            await connection.execute(renewal)

    async def keep(self, lease: Lease, exchange: Exchange, agent_id: str, model: str) -> None:
        """Adds the exchange within the bounds and ends the lease; nothing is added to what was deleted meanwhile.

        Raises ConversationOvertaken when the lease had lapsed and another one was taken.
        """
        async with self._database.writing() as connection:
            found = select(*CONVERSATIONS.c).where(_is(lease.owner, lease.id)).with_for_update()
            row = (await connection.execute(found)).one_or_none()
            if row is None:
                return
            if row.holder != lease.holder:
                raise ConversationOvertaken
            exchanges = await self._add(connection, row, exchange)
            values = {
                "agent_id": agent_id,
                "model": model,
                "exchanges": exchanges,
                "updated_at": to_unix_ms(exchange.answered_at),
                "expires_at": to_unix_ms(exchange.answered_at + KEEP),
                "holder": None,
                "busy_until": 0,
            }
            if not row.exchanges:
                values["sealed_title"] = self._seal.seal(title_of(exchange.question), _bound_to(row, "title"))
            await connection.execute(update(CONVERSATIONS).where(CONVERSATIONS.c.number == row.number).values(values))
            if not row.exchanges:
                await _drop_oldest(connection, row.owner, to_unix_ms(exchange.answered_at))

    async def release(self, lease: Lease) -> None:
        """Ends the lease, if it is there; a conversation that has no exchange goes with it."""
        async with self._database.writing() as connection:
            empty = delete(CONVERSATIONS).where(_is_held(lease), CONVERSATIONS.c.exchanges == 0)
            if (await connection.execute(empty)).rowcount == 0:
                free = update(CONVERSATIONS).where(_is_held(lease)).values(holder=None, busy_until=0)
                await connection.execute(free)

    async def page(self, owner: str, after: Place | None, limit: int, *, now: datetime) -> Sequence[Conversation]:
        """At most `limit` of them, the last used first."""
        order = (CONVERSATIONS.c.updated_at, CONVERSATIONS.c.id)
        asked = select(*CONVERSATIONS.c).where(CONVERSATIONS.c.owner == owner, _is_there(now))
        if after is not None:
            asked = asked.where(tuple_(*order) < tuple_(to_unix_ms(after.updated_at), after.id))
        asked = asked.order_by(*(column.desc() for column in order)).limit(limit)
        async with self._database.reading() as connection:
            return [self._to_conversation(row) for row in await connection.execute(asked)]

    async def get(self, owner: str, id: str, *, now: datetime) -> tuple[Conversation, list[Exchange]] | None:
        """One with all that was said, the oldest first; raises ConversationUnreadable."""
        async with self._database.snapshot() as connection:
            asked = select(*CONVERSATIONS.c).where(_is(owner, id), _is_there(now))
            row = (await connection.execute(asked)).one_or_none()
            return None if row is None else (self._to_conversation(row), await self._said(connection, row))

    async def exists(self, owner: str, id: str, *, now: datetime) -> bool:
        """Whether it is there, be it only leased."""
        asked = select(CONVERSATIONS.c.number).where(_is(owner, id), CONVERSATIONS.c.expires_at > to_unix_ms(now))
        async with self._database.reading() as connection:
            return (await connection.execute(asked)).one_or_none() is not None

    async def remove(self, owner: str, id: str) -> bool:
        """Forgets it, and its lease. False when it was not there."""
        async with self._database.writing() as connection:
            return (await connection.execute(delete(CONVERSATIONS).where(_is(owner, id)))).rowcount > 0

    async def remove_expired(self, *, now: datetime, limit: int) -> int:
        """Removes at most `limit` conversations that have expired, and first turns that died. Returns how many."""
        expired = select(CONVERSATIONS.c.number).where(CONVERSATIONS.c.expires_at <= to_unix_ms(now)).limit(limit)
        async with self._database.writing() as connection:
            removed = await connection.execute(delete(CONVERSATIONS).where(CONVERSATIONS.c.number.in_(expired)))
            return removed.rowcount

    async def _said(self, connection: AsyncConnection, row: Row[Any]) -> list[Exchange]:
        asked = select(*EXCHANGES.c).where(EXCHANGES.c.conversation == row.number).order_by(EXCHANGES.c.place)
        try:
            return [self._to_exchange(row, exchange) for exchange in await connection.execute(asked)]
        except SealBroken:
            raise ConversationUnreadable from None

    async def _add(self, connection: AsyncConnection, row: Row[Any], exchange: Exchange) -> int:
        """Adds the newest exchange and drops the oldest that do not fit beside it; returns how many there are then."""
        places = select(EXCHANGES.c.place, EXCHANGES.c.size).where(EXCHANGES.c.conversation == row.number)
        older = (await connection.execute(places.order_by(EXCHANGES.c.place.desc()))).all()
        place = older[0].place + 1 if older else 1
        added = {
            "conversation": row.number,
            "place": place,
            "size": exchange.size,
            "asked_at": to_unix_ms(exchange.asked_at),
            "answered_at": to_unix_ms(exchange.answered_at),
            "sealed": self._seal.seal(
                orjson.dumps([exchange.question, exchange.answer]).decode(), _bound_to(row, str(place))
            ),
        }
        await connection.execute(insert(EXCHANGES).values(added))
        count = fitting([exchange.size, *(each.size for each in older)])
        if count <= len(older):
            last_dropped = older[count - 1].place
            is_dropped = and_(EXCHANGES.c.conversation == row.number, EXCHANGES.c.place <= last_dropped)
            await connection.execute(delete(EXCHANGES).where(is_dropped))
        return count

    def _to_exchange(self, row: Row[Any], exchange: Row[Any]) -> Exchange:
        question, answer = orjson.loads(self._seal.open(exchange.sealed, _bound_to(row, str(exchange.place))))
        return Exchange(question, answer, from_unix_ms(exchange.asked_at), from_unix_ms(exchange.answered_at))

    def _to_conversation(self, row: Row[Any]) -> Conversation:
        try:
            title = self._seal.open(row.sealed_title, _bound_to(row, "title"))
        except SealBroken:
            title = ""  # so that its owner can find and delete it
        return Conversation(
            id=row.id,
            agent_id=row.agent_id,
            model=row.model,
            title=title,
            exchanges=row.exchanges,
            created_at=from_unix_ms(row.created_at),
            updated_at=from_unix_ms(row.updated_at),
            expires_at=from_unix_ms(row.expires_at),
        )


async def _drop_oldest(connection: AsyncConnection, owner: str, at: int) -> None:
    """Removes the conversations of an owner that were not used for longest, until no more are left than may be."""
    newest_first = CONVERSATIONS.c.updated_at.desc(), CONVERSATIONS.c.id.desc()
    own = select(CONVERSATIONS.c.number).where(CONVERSATIONS.c.owner == owner, CONVERSATIONS.c.exchanges > 0)
    too_many = own.order_by(*newest_first).offset(MAX_OF_OWNER)
    is_idle = CONVERSATIONS.c.busy_until <= at
    await connection.execute(delete(CONVERSATIONS).where(CONVERSATIONS.c.number.in_(too_many), is_idle))


def _leased_row(lease: Lease, now: datetime) -> dict[str, Any]:
    """A conversation before its first answer."""
    at = to_unix_ms(now)
    return {
        "number": new_id(),
        "owner": lease.owner,
        "id": lease.id,
        "agent_id": "",
        "model": "",
        "sealed_title": "",
        "exchanges": 0,
        "created_at": at,
        "updated_at": at,
        "expires_at": to_unix_ms(lease.until),
        "holder": lease.holder,
        "busy_until": to_unix_ms(now + LEASE),
    }


def _is(owner: str, id: str) -> Any:
    return and_(CONVERSATIONS.c.owner == owner, CONVERSATIONS.c.id == id)


def _is_held(lease: Lease) -> Any:
    return and_(_is(lease.owner, lease.id), CONVERSATIONS.c.holder == lease.holder)


def _is_there(now: datetime) -> Any:
    return and_(CONVERSATIONS.c.exchanges > 0, CONVERSATIONS.c.expires_at > to_unix_ms(now))


def _bound_to(row: Row[Any], what: str) -> str:
    return f"orchestrator|conversation|{row.owner}|{row.number}|{what}|{row.id}"
