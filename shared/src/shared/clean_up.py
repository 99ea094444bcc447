"""Clean-up: what expired long enough ago goes, a bounded piece at a time."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol

from shared.background import beside

CLEAN_UP_EVERY_S = 600.0
AT_A_TIME = 500

_log = logging.getLogger(__name__)


class Perishable(Protocol):
    """Rows that mean nothing any more once they have expired."""

    async def remove_expired(self, *, now: datetime, limit: int) -> int:
        """Removes at most `limit` of them; returns how many."""


async def clean_up(*stores: Perishable, now: datetime) -> None:
    """Removes what has expired. Each transaction is short, so that nobody waits for long."""
    for store in stores:
        while await store.remove_expired(now=now, limit=AT_A_TIME) == AT_A_TIME:
            pass


@asynccontextmanager
async def cleaning_up(
    *stores: Perishable, now: Callable[[], datetime], every: float = CLEAN_UP_EVERY_S
) -> AsyncIterator[None]:
    """Cleans up every ten minutes while the block runs."""

    async def repeat() -> None:
        while True:
            try:
                await clean_up(*stores, now=now())
            except Exception:
                _log.exception("clean_up_failed")
            await asyncio.sleep(every)

    async with beside(repeat):
        yield
