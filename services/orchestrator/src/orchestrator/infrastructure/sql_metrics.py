"""What agents' attempts come to, in SQL: by minute and replica, by hour, and by day and replica."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Float,
    Index,
    Row,
    Select,
    String,
    Table,
    Text,
    and_,
    bindparam,
    delete,
    insert,
    literal,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.metrics import MINUTES_PER_DAY, MINUTES_PER_HOUR, OUTCOMES, Histogram, Sums
from orchestrator.infrastructure.sql_agents import AGENTS, METADATA, REGISTRY
from shared.database import Database

T = TypeVar("T")

KEEP_MINUTES = 25 * MINUTES_PER_HOUR
KEEP_HOURS = 31 * 24
KEEP_REMOVED_DAYS = 31
ALL_REPLICAS = ""
"""Whose sums those of past days are in the end: a replica lives until its process ends, and rows may not pile up."""

_COUNTS = (*OUTCOMES, "prompt_tokens", "completion_tokens")


def _sums() -> list[Column[Any]]:
    return [
        *(Column(name, BigInteger, nullable=False) for name in _COUNTS),
        Column("latency_ms", Float, nullable=False),
        Column("latency", Text, nullable=False),
        Column("first_token", Text, nullable=False),
    ]


MINUTES = Table(
    "agent_minutes",
    METADATA,
    Column("agent_id", String(36), primary_key=True),
    Column("minute", BigInteger, primary_key=True),
    Column("replica", String(32), primary_key=True),
    *_sums(),
    Index("agent_minutes_by_minute", "minute", "agent_id"),
)
HOURS = Table(
    "agent_hours",
    METADATA,
    Column("agent_id", String(36), primary_key=True),
    Column("hour", BigInteger, primary_key=True),
    *_sums(),
    Index("agent_hours_by_hour", "hour"),
)
DAYS = Table(
    "agent_days",
    METADATA,
    Column("agent_id", String(36), primary_key=True),
    Column("day", BigInteger, primary_key=True),
    Column("replica", String(32), primary_key=True),
    *_sums(),
)

_MINUTE_KEY = (MINUTES.c.agent_id, MINUTES.c.minute, MINUTES.c.replica)
_HOUR_KEY = (HOURS.c.agent_id, HOURS.c.hour)
_DAY_KEY = (DAYS.c.agent_id, DAYS.c.day, DAYS.c.replica)
_EVER: Select[Any] = select(
    *(column for column in DAYS.c if column is not DAYS.c.first_token), literal("[]").label("first_token")
)

PIECE = 32
"""Rows that are read in a go: a busy agent's day has 1,440 of them for each replica, at 20 to 40 µs."""


class SqlMetrics:
    """The MetricStore on a SQL database. Each replica writes its own sums only: writing them twice does no harm.

    Sums of minutes that are long over become those of hours, and sums of past days become one since ever: in one
    transaction each, so that nothing is counted twice or never.
    """

    def __init__(self, database: Database, *, replica: str) -> None:
        self._database = database
        self._replica = replica

    async def save(self, minutes: Mapping[tuple[str, int], Sums], days: Mapping[tuple[str, int], Sums]) -> None:
        """Keeps this replica's sums of minutes and of days, as they are now; raises DatabaseUnavailable."""
        of_minutes = [self._own(id, sums, minute=minute) for (id, minute), sums in minutes.items()]
        of_days = [self._own(id, sums, day=day) for (id, day), sums in days.items()]
        async with self._database.writing() as connection:
            await _replace(connection, MINUTES, _MINUTE_KEY, of_minutes)
            await _replace(connection, DAYS, _DAY_KEY, of_days)

    async def series(self, agent_id: str, steps: range) -> list[Sums]:
        """An agent's sums in each of the steps, which begin in these minutes; in whole hours when it is long ago."""
        start, end = steps.start, steps.stop
        of_minutes = select(MINUTES).where(
            MINUTES.c.agent_id == agent_id, MINUTES.c.minute >= start, MINUTES.c.minute < end
        )
        first_hour, end_hour = -(-start // MINUTES_PER_HOUR), -(-end // MINUTES_PER_HOUR)
        of_hours = select(HOURS).where(
            HOURS.c.agent_id == agent_id, HOURS.c.hour >= first_hour, HOURS.c.hour < end_hour
        )
        async with self._database.snapshot() as connection:
            minutes = (await connection.execute(of_minutes)).all()
            hours = (await connection.execute(of_hours)).all()
        found = [(row.hour * MINUTES_PER_HOUR, row) for row in hours] + [(row.minute, row) for row in minutes]
        series = [Sums() for _ in steps]
        async for minute, row in _in_pieces(found):
            _merge(series[(minute - start) // steps.step], row)
        return series

    async def of_day(self, agent_id: str, day: int) -> Sums:
        """An agent's sums of a day of UTC, counted since the Unix epoch."""
        asked = select(DAYS).where(DAYS.c.agent_id == agent_id, DAYS.c.day == day)
        async with self._database.reading() as connection:
            return _to_sums(*await connection.execute(asked))

    async def since_ever(self) -> dict[str, Sums]:
        """What every agent has done that ever was given work and is not forgotten, but first tokens. It never falls."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(_EVER)).all()
        found: dict[str, Sums] = {}
        async for row in _in_pieces(rows):
            _merge(found.setdefault(row.agent_id, Sums()), row)
        return found

    async def remove_expired(self, *, now: datetime, limit: int) -> int:
        """Rolls up or removes at most `limit` rows whose time is over. Returns how many."""
        minute = int(now.timestamp()) // 60
        hour, day = minute // MINUTES_PER_HOUR, minute // MINUTES_PER_DAY
        last_minute = (minute - KEEP_MINUTES) // MINUTES_PER_HOUR * MINUTES_PER_HOUR
        async with self._database.writing() as connection:
            # One replica at a time: two would each add to an hour as it was before.
            await connection.execute(select(REGISTRY.c.id).with_for_update())
            gone = await _roll_up_minutes(connection, before=last_minute, limit=limit)
            gone += await _roll_up_days(connection, before=day - 1, limit=limit - gone)
            gone += await _remove(connection, HOURS, _HOUR_KEY, HOURS.c.hour < hour - KEEP_HOURS, limit - gone)
            removed = and_(
                DAYS.c.replica == ALL_REPLICAS,
                DAYS.c.day < day - KEEP_REMOVED_DAYS,
                DAYS.c.agent_id.not_in(select(AGENTS.c.id)),
            )
            return gone + await _remove(connection, DAYS, _DAY_KEY, removed, limit - gone)

    def _own(self, agent_id: str, sums: Sums, **when: int) -> dict[str, Any]:
        return {"agent_id": agent_id, **when, "replica": self._replica, **_to_row(sums)}


async def _roll_up_minutes(connection: AsyncConnection, *, before: int, limit: int) -> int:
    """Makes hours of minutes, an agent's hour at a time."""
    oldest = (
        select(MINUTES.c.agent_id, MINUTES.c.minute)
        .where(MINUTES.c.minute < before)
        .order_by(MINUTES.c.minute, MINUTES.c.agent_id)
        .limit(1)
    )
    gone = 0
    while gone < limit:
        first = (await connection.execute(oldest)).one_or_none()
        if first is None:
            break
        hour = first.minute // MINUTES_PER_HOUR
        is_of_hour = and_(
            MINUTES.c.agent_id == first.agent_id,
            MINUTES.c.minute >= hour * MINUTES_PER_HOUR,
            MINUTES.c.minute < (hour + 1) * MINUTES_PER_HOUR,
        )
        minutes = await _taken(connection, MINUTES, _MINUTE_KEY, is_of_hour, limit - gone)
        key = {"agent_id": first.agent_id, "hour": hour}
        is_it = and_(HOURS.c.agent_id == first.agent_id, HOURS.c.hour == hour)
        before_now = (await connection.execute(select(HOURS).where(is_it))).all()
        sums = _to_sums(*before_now, *minutes)
        await _replace(connection, HOURS, _HOUR_KEY, [{**key, **_to_row(sums)}])
        gone += len(minutes)
    return gone


async def _roll_up_days(connection: AsyncConnection, *, before: int, limit: int) -> int:
    """Adds past days of replicas to what there is since ever, which has the last of these days."""
    past = await _taken(connection, DAYS, _DAY_KEY, and_(DAYS.c.day < before, DAYS.c.replica != ALL_REPLICAS), limit)
    for agent_id in {row.agent_id for row in past}:
        is_ever = and_(DAYS.c.agent_id == agent_id, DAYS.c.replica == ALL_REPLICAS)
        ever = await _taken(connection, DAYS, _DAY_KEY, is_ever, 1)
        rows = [*ever, *(row for row in past if row.agent_id == agent_id)]
        sums = _to_sums(*rows)
        key = {"agent_id": agent_id, "day": max(row.day for row in rows), "replica": ALL_REPLICAS}
        await connection.execute(insert(DAYS).values({**key, **_to_row(sums)}))
    return len(past)


async def _taken(
    connection: AsyncConnection,
    table: Table,
    key: tuple[Column[Any], ...],
    which: ColumnElement[bool],
    limit: int,
) -> Sequence[Row[Any]]:
    """Removes at most `limit` rows and returns them."""
    chosen = select(*key).where(which).limit(limit)
    return (await connection.execute(delete(table).where(tuple_(*key).in_(chosen)).returning(*table.c))).all()


async def _remove(
    connection: AsyncConnection,
    table: Table,
    key: tuple[Column[Any], ...],
    which: ColumnElement[bool],
    limit: int,
) -> int:
    chosen = select(*key).where(which).limit(limit)
    return (await connection.execute(delete(table).where(tuple_(*key).in_(chosen)))).rowcount


async def _replace(
    connection: AsyncConnection, table: Table, key: tuple[Column[Any], ...], rows: list[dict[str, Any]]
) -> None:
    """Writes the rows, over those with the same keys: two statements, however many there are."""
    if rows:
        same = and_(*(column == bindparam(f"the_{column.name}") for column in key))
        keys = [{f"the_{column.name}": row[column.name] for column in key} for row in rows]
        await connection.execute(delete(table).where(same), keys)
        await connection.execute(insert(table), rows)


def _to_row(sums: Sums) -> dict[str, Any]:
    return {
        **sums.outcomes,
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "latency_ms": sums.latency_ms,
        "latency": _to_text(sums.latency),
        "first_token": _to_text(sums.first_token),
    }


def _to_sums(*rows: Row[Any]) -> Sums:
    sums = Sums()
    for row in rows:
        _merge(sums, row)
    return sums


def _merge(sums: Sums, row: Row[Any]) -> None:
    for outcome in OUTCOMES:
        sums.outcomes[outcome] += getattr(row, outcome)
    sums.prompt_tokens += row.prompt_tokens
    sums.completion_tokens += row.completion_tokens
    sums.latency_ms += row.latency_ms
    sums.latency.merge(_buckets(row.latency))
    sums.first_token.merge(_buckets(row.first_token))


async def _in_pieces(rows: Sequence[T]) -> AsyncIterator[T]:
    """The rows, between which others of this process have their turn."""
    for number, row in enumerate(rows, start=1):
        yield row
        if number % PIECE == 0:
            await asyncio.sleep(0)


def _to_text(histogram: Histogram) -> str:
    """JSON of buckets and their counts in turn, as in `[137,2,138,1]`."""
    return orjson.dumps([number for bucket in sorted(histogram.counts.items()) for number in bucket]).decode()


def _buckets(text: str) -> Iterable[tuple[int, int]]:
    numbers = iter(orjson.loads(text))
    return zip(numbers, numbers, strict=True)
