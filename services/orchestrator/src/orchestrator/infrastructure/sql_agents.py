"""Agents in SQL. Each write raises the registry's version in its own transaction."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.application.registry import Snapshot
from orchestrator.domain.agent import Agent, AgentId, AgentNameTaken, AgentNotFound, name_key
from shared.clock import from_unix_ms, to_unix_ms
from shared.database import Database

METADATA = MetaData()

AGENTS = Table(
    "agents",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("name_key", String(256), nullable=False, unique=True),
    Column("type", String(16), nullable=False),
    Column("endpoint", String(2048)),
    Column("model", String(200), nullable=False),
    Column("sealed_key", Text),
    Column("max_tokens", Integer, nullable=False),
    Column("temperature", Float, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("weight", Integer, nullable=False),
    Column("max_concurrency", Integer, nullable=False),
    Column("in_maintenance", Boolean, nullable=False),
    Column("tags", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
)

REGISTRY = Table(
    "registry",
    METADATA,
    Column("id", Integer, primary_key=True),  # always 1
    Column("number", BigInteger, nullable=False),
    Column("seeded_at", BigInteger),
)

_NUMBER = select(REGISTRY.c.number)
_RAISE = update(REGISTRY).values(number=REGISTRY.c.number + 1).returning(REGISTRY.c.number)
_ALL = select(*AGENTS.c).order_by(AGENTS.c.id)


class SqlAgents:
    """The AgentStore on a SQL database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def number(self) -> int:
        """The registry's version."""
        async with self._database.reading() as connection:
            return await _number(connection)

    async def all(self) -> Snapshot:
        """Every agent, as of one moment."""
        async with self._database.snapshot() as connection:
            number = await _number(connection)
            rows = await connection.execute(_ALL)
            return Snapshot(number, tuple(_to_agent(row) for row in rows))

    async def get(self, id: AgentId) -> Agent | None:
        """One agent, or None."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(*AGENTS.c).where(AGENTS.c.id == id))).one_or_none()
            return None if row is None else _to_agent(row)

    async def add(self, agent: Agent) -> int:
        """Keeps a new agent; raises AgentNameTaken."""
        try:
            async with self._database.writing() as connection:
                await connection.execute(insert(AGENTS).values(_to_row(agent)))
                return await _raise(connection)
        except IntegrityError:
            raise AgentNameTaken(agent.name) from None

    async def change(self, id: AgentId, change: Callable[[Agent], Agent]) -> int:
        """Keeps what `change` makes of the agent as it is then: nobody else changes it in between.

        Raises AgentNotFound, AgentNameTaken, and what `change` raises.
        """
        is_it = AGENTS.c.id == id
        async with self._database.writing() as connection:
            row = (await connection.execute(select(*AGENTS.c).where(is_it).with_for_update())).one_or_none()
            if row is None:
                raise AgentNotFound(id)
            agent = change(_to_agent(row))
            try:
                await connection.execute(update(AGENTS).where(is_it).values(_to_row(agent)))
            except IntegrityError:
                raise AgentNameTaken(agent.name) from None
            return await _raise(connection)

    async def remove(self, id: AgentId) -> int:
        """Forgets an agent; raises AgentNotFound."""
        async with self._database.writing() as connection:
            removed = await connection.execute(delete(AGENTS).where(AGENTS.c.id == id))
            if removed.rowcount == 0:
                raise AgentNotFound(id)
            return await _raise(connection)

    async def seed(self, agents: list[Agent], *, at: datetime) -> None:
        """Keeps the agents of a first start, unless there has been one."""
        async with self._database.writing() as connection:
            marked = update(REGISTRY).where(REGISTRY.c.seeded_at.is_(None)).values(seeded_at=to_unix_ms(at))
            if (await connection.execute(marked)).rowcount == 0:
                return
            await connection.execute(insert(AGENTS), [_to_row(agent) for agent in agents])
            await _raise(connection)


async def _number(connection: AsyncConnection) -> int:
    return int((await connection.execute(_NUMBER)).scalar_one())


async def _raise(connection: AsyncConnection) -> int:
    return int((await connection.execute(_RAISE)).scalar_one())


def _to_row(agent: Agent) -> dict[str, Any]:
    return {
        "id": agent.id,
        "name": agent.name,
        "name_key": name_key(agent.name),
        "type": agent.type,
        "endpoint": agent.endpoint,
        "model": agent.model,
        "sealed_key": agent.sealed_key,
        "max_tokens": agent.max_tokens,
        "temperature": agent.temperature,
        "priority": agent.priority,
        "weight": agent.weight,
        "max_concurrency": agent.max_concurrency,
        "in_maintenance": agent.in_maintenance,
        "tags": json.dumps(agent.tags, ensure_ascii=False),
        "metadata": json.dumps(agent.metadata, ensure_ascii=False),
        "created_at": to_unix_ms(agent.created_at),
        "updated_at": to_unix_ms(agent.updated_at),
        "version": agent.version,
    }


def _to_agent(row: Row[Any]) -> Agent:
    return Agent(
        id=AgentId(row.id),
        name=row.name,
        type=row.type,
        endpoint=row.endpoint,
        model=row.model,
        sealed_key=row.sealed_key,
        max_tokens=row.max_tokens,
        temperature=row.temperature,
        priority=row.priority,
        weight=row.weight,
        max_concurrency=row.max_concurrency,
        in_maintenance=row.in_maintenance,
        tags=tuple(json.loads(row.tags)),
        metadata=json.loads(row.metadata),
        created_at=from_unix_ms(row.created_at),
        updated_at=from_unix_ms(row.updated_at),
        version=row.version,
    )
