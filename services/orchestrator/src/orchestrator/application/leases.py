"""Leases on work under way: the living renew theirs each second, so that those of the dead lapse soon."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Protocol

from shared.background import beside
from shared.database import DatabaseUnavailable

LEASE = timedelta(seconds=4)
"""How long a replica that says nothing is taken for alive."""
RENEW_EVERY_S = 1.0


class LeaseStore(Protocol):
    """Where leases are kept, each under its holder's name, which is never another's."""

    async def renew(self, holders: Collection[str], *, now: datetime) -> None:
        """Those of these leases that are still theirs lapse LEASE from now."""
        ...


class Leases:
    """The leases that this replica holds."""

    def __init__(self, store: LeaseStore, *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._holders: set[str] = set()

    @contextmanager
    def held(self, holder: str) -> Iterator[None]:
        """Has this one renewed while the block runs."""
        self._holders.add(holder)
        try:
            yield
        finally:
            self._holders.discard(holder)

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Says each second that this replica is alive, while the block runs."""
        async with beside(self._renew_always):
            yield

    async def _renew_always(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            if self._holders:
                with suppress(DatabaseUnavailable):  # the log has it
                    await self._store.renew(tuple(self._holders), now=self._now())
