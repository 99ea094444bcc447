"""Tokens by API key, day and replica in SQL, written a moment after they were used."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, Date, String, Table, and_, delete, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from orchestrator.domain.budget import Account
from orchestrator.infrastructure.sql_agents import METADATA
from shared.background import beside
from shared.database import Database, DatabaseUnavailable

SAVE_EVERY_S = 0.25
AGAIN_AFTER_S = 1.0
KEEP = timedelta(days=2)

TOKEN_USAGE = Table(
    "token_usage",
    METADATA,
    Column("key_id", String(64), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("replica", String(32), primary_key=True),
    Column("tokens", BigInteger, nullable=False),
)
_KEY = (TOKEN_USAGE.c.key_id, TOKEN_USAGE.c.day, TOKEN_USAGE.c.replica)


class SqlUsage:
    """What each replica has used. Each writes its own sums only, so that writing one twice does no harm."""

    def __init__(self, database: Database, *, replica: str) -> None:
        self.replica = replica
        self._database = database
        self._unsaved: dict[Account, int] = {}
        self._has_unsaved = asyncio.Event()

    async def of(self, account: Account) -> Mapping[str, int]:
        """The tokens used of a budget, by replica; raises DatabaseUnavailable."""
        asked = select(TOKEN_USAGE.c.replica, TOKEN_USAGE.c.tokens).where(_is_of(account))
        async with self._database.reading() as connection:
            used = {row.replica: row.tokens for row in await connection.execute(asked)}
        if account in self._unsaved:
            used[self.replica] = self._unsaved[account]
        return used

    def note(self, account: Account, tokens: int) -> None:
        """This replica's sum from now on; it is written soon."""
        self._unsaved[account] = tokens
        self._has_unsaved.set()

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[None]:
        """Writes what was noted while the block runs, and the rest at its end."""
        try:
            async with beside(self._save_always):
                yield
        finally:
            with suppress(DatabaseUnavailable):  # the log has it; the record on the bus still knows the sums
                await self._save()

    async def remove_expired(self, *, now: datetime, limit: int) -> int:
        """Removes at most `limit` sums of days that no call can be of any more. Returns how many."""
        old = select(*_KEY).where(TOKEN_USAGE.c.day < (now - KEEP).date()).limit(limit)
        async with self._database.writing() as connection:
            return (await connection.execute(delete(TOKEN_USAGE).where(tuple_(*_KEY).in_(old)))).rowcount

    async def _save_always(self) -> None:
        while True:
            await self._has_unsaved.wait()
            try:
                await self._save()
            except DatabaseUnavailable:
                await asyncio.sleep(AGAIN_AFTER_S)
            else:
                await asyncio.sleep(SAVE_EVERY_S)

    async def _save(self) -> None:
        sums = dict(self._unsaved)
        self._has_unsaved.clear()
        if not sums:
            return
        try:
            async with self._database.writing() as connection:
                for account, tokens in sums.items():
                    await self._write(connection, account, tokens)
        except BaseException:
            self._has_unsaved.set()
            raise
        for account, tokens in sums.items():
            if self._unsaved[account] == tokens:
                del self._unsaved[account]

    async def _write(self, connection: AsyncConnection, account: Account, tokens: int) -> None:
        own = and_(_is_of(account), TOKEN_USAGE.c.replica == self.replica)
        if (await connection.execute(update(TOKEN_USAGE).where(own).values(tokens=tokens))).rowcount == 0:
            row = {"key_id": account.key_id, "day": account.day, "replica": self.replica, "tokens": tokens}
            await connection.execute(insert(TOKEN_USAGE).values(row))


def _is_of(account: Account) -> Any:
    return and_(TOKEN_USAGE.c.key_id == account.key_id, TOKEN_USAGE.c.day == account.day)
