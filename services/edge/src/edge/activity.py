"""Which sessions and keys were used: noted at the cost of an assignment, told to auth from time to time."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from shared.background import beside
from shared.bus import Bus, call_context
from shared.contracts import sessions
from shared.contracts.sessions import SEEN, Seen
from shared.errors import PlatformError

EVERY_S = 30.0
AT_A_TIME = 1000
MAX_NOTED = 20_000
WITHIN_S = 5.0
WITHIN_AT_END_S = 1.0


class Used(NamedTuple):
    """By what a caller was known: a key's or a session's id. Plain values, as each request hashes them."""

    is_key: bool
    id: str


_log = logging.getLogger(__name__)


class Activity:
    """Last uses since auth was told last. What cannot be told is dropped: it is a courtesy, and the next use tells."""

    def __init__(self, bus: Bus, *, every: float = EVERY_S) -> None:
        self._bus = bus
        self._every = every
        self._noted: dict[Used, int] = {}

    def note(self, used: Used, at: int) -> None:
        """Takes note of a use, in Unix milliseconds; not of more than MAX_NOTED credentials at a time."""
        if len(self._noted) < MAX_NOTED or used in self._noted:
            self._noted[used] = at

    @asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Tells auth every 30 s while the block runs, and once more at its end."""
        try:
            async with beside(self._repeat):
                yield
        finally:
            await self._tell(within=WITHIN_AT_END_S)

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self._tell(within=WITHIN_S)

    async def _tell(self, *, within: float) -> None:
        noted, self._noted = list(self._noted.items()), {}
        try:
            for start in range(0, len(noted), AT_A_TIME):
                batch = noted[start : start + AT_A_TIME]
                await self._bus.call(SEEN, _seen(batch), call_context(seconds=within))
        except PlatformError as error:
            _log.debug("activity_dropped", extra={"reason": error.reason})
        except Exception:
            _log.exception("activity_dropped")


def _seen(batch: list[tuple[Used, int]]) -> Seen:
    told = [(used.is_key, sessions.Activity(credential_id=used.id, at=at)) for used, at in batch]
    return Seen(
        sessions=[each for is_key, each in told if not is_key],
        keys=[each for is_key, each in told if is_key],
    )
