"""Alarms: who watches the platform hears at once that the log is no longer what was written."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from audit.application.knowledge import Knowledge
from shared.background import beside
from shared.bus import write
from shared.clock import utc_now
from shared.contracts.events import INTEGRITY_CHANGED, IntegrityChanged

Publish = Callable[[str, bytes], Awaitable[None]]

_log = logging.getLogger(__name__)


class Alarms:
    """Tells each finding once: that the log is bad, that it is so from an earlier entry on, that it is good again."""

    def __init__(self, knowledge: Knowledge, publish: Publish) -> None:
        self._knowledge = knowledge
        self._publish = publish

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tells while the block runs."""
        async with beside(self._repeat):
            yield

    async def _repeat(self) -> None:
        told: int | None = None
        while True:
            await self._knowledge.news.wait()
            self._knowledge.news.clear()
            if (first_bad := self._knowledge.first_bad) != told:
                told = first_bad
                await self._tell(first_bad)

    async def _tell(self, first_bad: int | None) -> None:
        event = IntegrityChanged(timestamp=utc_now(), valid=first_bad is None, first_bad_index=first_bad)
        try:
            await self._publish(INTEGRITY_CHANGED.subject, write(event))
        except Exception:
            _log.exception("alarm_not_told")
