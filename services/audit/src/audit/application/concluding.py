"""Concluding: an intent whose outcome nobody recorded in time gets one that says so."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from audit.application.appends import Appends
from audit.application.ports import LogUnavailable, LogWriter
from audit.domain.entry import Draft, Row
from audit.domain.erasure import SOURCE
from audit.domain.personal import PERSONAL_FIELDS
from shared.background import beside
from shared.clock import rfc3339, unix_ms, utc_now

GRACE_S = 60.0
EVERY_S = 5.0
AT_ONCE = 256

_log = logging.getLogger(__name__)


class Concluder:
    """Writes `unknown` outcomes. Replicas may race: an outcome counts once per event, so one of them wins."""

    def __init__(self, appends: Appends, writer: LogWriter, *, grace: float = GRACE_S, every: float = EVERY_S) -> None:
        self._appends = appends
        self._writer = writer
        self._grace = grace
        self._every = every

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Concludes while the block runs.

        Begins one grace period after the start and after each failure to write: outcomes that could not be delivered
        while the log was away come from the outboxes first.
        """
        async with beside(self._repeat):
            yield

    async def conclude(self) -> int:
        """One round; returns how many intents it concluded."""
        overdue = await self._writer.overdue(unix_ms() - round(self._grace * 1000), AT_ONCE)
        if overdue:
            await self._appends.append([_unknown(intent) for intent in overdue])
            _log.warning("intents_concluded_as_unknown", extra={"count": len(overdue)})
        return len(overdue)

    async def _repeat(self) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            await asyncio.sleep(self._every)
            if loop.time() - max(started, self._appends.failed_at) < self._grace:
                continue
            try:
                while await self.conclude() == AT_ONCE:
                    pass
            except LogUnavailable:
                continue  # the next round tries again
            except Exception:
                _log.exception("concluding_failed")


def _unknown(intent: Row) -> Draft:
    values = orjson.loads(intent.personal)
    return Draft(
        source=SOURCE,
        id=intent.id,
        request_id=intent.request_id,
        phase="outcome",
        action=intent.action,
        outcome="unknown",
        user_id=intent.user_id,
        personal={field: values[field]["value"] if field in values else "" for field in PERSONAL_FIELDS},
        resource_type=intent.resource_type,
        resource_id=intent.resource_id,
        details={"intentIndex": intent.index},
        timestamp=rfc3339(utc_now()),
    )
