"""Idempotency keys in SQL: claims with a lease, and sealed outcomes."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Row,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.application.idempotency import Record
from orchestrator.application.leases import LEASE
from orchestrator.domain.idempotency import (
    KEEP,
    MAX_KEYS_OF_USER,
    Answer,
    Failure,
    KeyedRequest,
    Outcome,
    TooManyKeys,
)
from orchestrator.infrastructure.sql_agents import METADATA
from shared.clock import from_unix_ms, to_unix_ms
from shared.database import Database
from shared.errors import ErrorCode, FieldError
from shared.sealing import Seal, SealBroken

IDEMPOTENCY_KEYS = Table(
    "idempotency_keys",
    METADATA,
    Column("user_id", String(64), primary_key=True),
    Column("credential_id", String(64), primary_key=True),
    Column("key_hash", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("holder", String(36), nullable=False),
    Column("leased_until", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("outcome", String(8)),  # answer or failure; NULL while it is worked on
    Column("agent_id", String(64), nullable=False),
    Column("sealed", Text),
    Index("idempotency_keys_user_id_expires_at", "user_id", "expires_at"),
    Index("idempotency_keys_expires_at", "expires_at"),
    Index("idempotency_keys_holder", "holder"),
)
_KEY = (IDEMPOTENCY_KEYS.c.user_id, IDEMPOTENCY_KEYS.c.credential_id, IDEMPOTENCY_KEYS.c.key_hash)


class SqlIdempotency:
    """The ClaimStore on a SQL database."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._seal = Seal(key)

    async def claim(self, request: KeyedRequest, holder: str, *, now: datetime) -> Record | None:
        """Claims the key, which lapses LEASE from now; returns what is known of it when it is already taken.

        Raises TooManyKeys.
        """
        at = to_unix_ms(now)
        row = {
            "user_id": request.user_id,
            "credential_id": request.credential_id,
            "key_hash": request.key_hash,
            "fingerprint": request.fingerprint,
            "holder": holder,
            "leased_until": to_unix_ms(now + LEASE),
            "expires_at": to_unix_ms(now + KEEP),
            "agent_id": "",
        }
        try:
            async with self._database.writing() as connection:
                taken = await self._find(connection, request, at)
                if taken is not None:
                    return taken
                await connection.execute(delete(IDEMPOTENCY_KEYS).where(_is(request)))
                await _require_room(connection, request.user_id, at)
                await connection.execute(insert(IDEMPOTENCY_KEYS).values(row))
                return None
        except IntegrityError:  # PostgreSQL: somebody has claimed it just now
            return await self.claim(request, holder, now=now)

    async def find(self, request: KeyedRequest, *, now: datetime) -> Record | None:
        """What is known of the key."""
        async with self._database.reading() as connection:
            return await self._find(connection, request, to_unix_ms(now))

    async def renew(self, holders: Collection[str], *, now: datetime) -> None:
        """These claims lapse LEASE from now."""
        are_theirs = IDEMPOTENCY_KEYS.c.holder.in_(holders)
        async with self._database.writing() as connection:
            renewal = update(IDEMPOTENCY_KEYS).where(are_theirs).values(leased_until=to_unix_ms(now + LEASE))
            await connection.execute(renewal)

    async def conclude(self, request: KeyedRequest, holder: str, outcome: Outcome, *, now: datetime) -> None:
        """Keeps what came of it."""
        kind = "answer" if isinstance(outcome, Answer) else "failure"
        values = {
            "outcome": kind,
            "agent_id": outcome.agent,
            "sealed": self._seal.seal(_to_text(outcome), _bound_to(request, kind, outcome.agent)),
            "expires_at": to_unix_ms(now + KEEP),
        }
        async with self._database.writing() as connection:
            await connection.execute(update(IDEMPOTENCY_KEYS).where(_is_held(request, holder)).values(values))

    async def release(self, request: KeyedRequest, holder: str) -> None:
        """Forgets the claim, if it is there: nothing was done."""
        async with self._database.writing() as connection:
            await connection.execute(delete(IDEMPOTENCY_KEYS).where(_is_held(request, holder)))

    async def remove_expired(self, *, now: datetime, limit: int) -> int:
        """Removes at most `limit` keys that have expired. Returns how many."""
        expired = select(*_KEY).where(IDEMPOTENCY_KEYS.c.expires_at <= to_unix_ms(now)).limit(limit)
        async with self._database.writing() as connection:
            return (await connection.execute(delete(IDEMPOTENCY_KEYS).where(tuple_(*_KEY).in_(expired)))).rowcount

    async def _find(self, connection: AsyncConnection, request: KeyedRequest, at: int) -> Record | None:
        asked = select(*IDEMPOTENCY_KEYS.c).where(_is(request), IDEMPOTENCY_KEYS.c.expires_at > at)
        row = (await connection.execute(asked)).one_or_none()
        if row is None:
            return None
        outcome = None
        if row.outcome is not None and row.fingerprint == request.fingerprint:
            outcome = self._opened(request, row)
        # Sealed with another key, it is lost.
        leased_until = 0 if row.outcome is not None else row.leased_until
        return Record(row.fingerprint, from_unix_ms(leased_until), outcome)

    def _opened(self, request: KeyedRequest, row: Row[Any]) -> Outcome | None:
        try:
            text = self._seal.open(row.sealed, _bound_to(request, row.outcome, row.agent_id))
        except SealBroken:
            return None
        return Answer(text.encode(), row.agent_id) if row.outcome == "answer" else _to_failure(text, row.agent_id)


async def _require_room(connection: AsyncConnection, user_id: str, at: int) -> None:
    own = and_(IDEMPOTENCY_KEYS.c.user_id == user_id, IDEMPOTENCY_KEYS.c.expires_at > at)
    live = select(func.count(), func.min(IDEMPOTENCY_KEYS.c.expires_at)).select_from(IDEMPOTENCY_KEYS).where(own)
    count, first_end = (await connection.execute(live)).one()
    if count >= MAX_KEYS_OF_USER:
        raise TooManyKeys(retry_after=-((at - first_end) // 1000))


def _is(request: KeyedRequest) -> Any:
    return tuple_(*_KEY) == tuple_(request.user_id, request.credential_id, request.key_hash)


def _is_held(request: KeyedRequest, holder: str) -> Any:
    return and_(_is(request), IDEMPOTENCY_KEYS.c.holder == holder, IDEMPOTENCY_KEYS.c.outcome.is_(None))


def _bound_to(request: KeyedRequest, kind: str, agent: str) -> str:
    who = f"{request.user_id}|{request.credential_id}|{request.key_hash}"
    return f"orchestrator|idempotency|{who}|{request.fingerprint}|{kind}|{agent}"


def _to_text(outcome: Outcome) -> str:
    if isinstance(outcome, Answer):
        return outcome.body.decode()
    return orjson.dumps(
        {
            "code": outcome.code,
            "reason": outcome.reason,
            "detail": outcome.detail,
            "errors": [[error.path, error.message] for error in outcome.errors],
            "retryAfter": outcome.retry_after,
        }
    ).decode()


def _to_failure(text: str, agent: str) -> Failure:
    told = orjson.loads(text)
    errors = tuple(FieldError(path, message) for path, message in told["errors"])
    return Failure(ErrorCode(told["code"]), told["reason"], told["detail"], errors, told["retryAfter"], agent)
