"""Scrubbing: the whole log is verified again and again, slowly, so that no damage stays unseen for long."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from audit.application.inspection import Findings, are_tiles_sound, digest_of, look_at_end, look_at_stretch
from audit.application.knowledge import Knowledge, Status
from audit.application.ports import LogDamaged, LogReader, LogUnavailable, Workshop
from audit.domain.verification import NOTHING, Prefix
from shared.background import beside

STRETCH = 1024
"""Entries that are looked at in one go, some 10 ms: a query waits for one stretch, not for a pass."""
STRETCH_S = 0.058
"""17,600 entries per second at most: 57 s for 1,000,000."""
ROUND_S = 0.5
PASS_S = 20.0
"""Passes begin at most so often; a shorter one is spread over it instead of taking half a core for a while."""

_log = logging.getLogger(__name__)


class Scrubber:
    """Verifies a few new entries within a second, and all of them in passes that begin at most every 20 s.

    What was verified once is afterwards compared by a digest of all that is stored of it, a quarter of the work. Where
    that differs (an erasure, or damage), everything is verified anew, as fast as it goes.
    Each stretch is a snapshot of its own: one held for a whole pass would keep the write-ahead log from shrinking.
    """

    def __init__(self, reader: LogReader, knowledge: Knowledge, workshop: Workshop) -> None:
        self._reader = reader
        self._knowledge = knowledge
        self._workshop = workshop
        self._compared = _Compared()
        self._began = float("-inf")
        self.verified = 0
        """How many entries the verification that runs, or ran last, has got through."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Scrubs while the block runs."""
        async with beside(partial(self._repeat, self.catch_up)), beside(partial(self._repeat, self._pass)):
            yield

    async def catch_up(self) -> None:
        """Verifies what was appended since the newest checkpoint."""
        began = time.monotonic()
        known = self._knowledge.known
        self._knowledge.learn(await self._looked(partial(look_at_end, self._reader, known), known.base), began=began)

    async def scrub(self) -> None:
        """Verifies all of the log now, entry by entry, as fast as it goes."""
        await self._verify(_Compared(), began=time.monotonic(), pace=0.0)

    async def scrub_again(self, pace: float = 0.0) -> None:
        """Verifies all of the log, by comparison where it was verified before; a stretch each `pace` seconds."""
        began = time.monotonic()
        if not await self._are_as_they_were(pace):
            self._compared, pace = _Compared(), 0.0
        await self._verify(self._compared, began=began, pace=pace)

    async def _repeat(self, round: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await round()
            except LogUnavailable:
                pass  # appends and health say so; the next round tries again
            except Exception:
                _log.exception("scrubbing_failed")
            await asyncio.sleep(ROUND_S)

    async def _pass(self) -> None:
        """One pass, when it is time for one; the first is not slowed down."""
        began, is_first = time.monotonic(), self._knowledge.status is Status.VERIFYING
        if began - self._began < PASS_S and not is_first:
            return
        self._began = began
        entries = self._knowledge.seen.index + 1
        pace = 0.0 if is_first else min(max(STRETCH_S, PASS_S * STRETCH / max(entries, STRETCH)), ROUND_S)
        await self.scrub_again(pace)

    async def _are_as_they_were(self, pace: float) -> bool:
        """Whether all that was verified once has the same bytes still."""
        for number, digest in enumerate(self._compared.digests):
            started = time.monotonic()
            look = partial(digest_of, self._reader, number * STRETCH, STRETCH)
            if await self._workshop.do(look) != digest:
                return False
            await _rest(started, pace)
        return await self._workshop.do(partial(are_tiles_sound, self._reader, self._knowledge.known))

    async def _verify(self, compared: "_Compared", *, began: float, pace: float) -> None:
        """Goes on after what is compared, to the end of the log or what is bad; adds to it."""
        at, findings = compared.prefix, Findings()
        while findings.first_bad is None and not findings.whole:
            started = time.monotonic()
            look = partial(look_at_stretch, self._reader, at, self._knowledge.known, STRETCH)
            findings = await self._looked(look, at)
            compared.add(at, findings)
            at = findings.prefix
            self.verified = at.size
            self._knowledge.learn(findings, began=began)
            await _rest(started, pace)

    async def _looked(self, look: Callable[[], Findings], at: Prefix) -> Findings:
        try:
            return await self._workshop.do(look)
        except LogDamaged:
            return Findings(prefix=at, first_bad=at.size)


@dataclass(slots=True)
class _Compared:
    """Digests of whole stretches from the log's first entry on, and the part of the log that they are of."""

    digests: list[bytes] = field(default_factory=list)
    prefix: Prefix = NOTHING

    def add(self, at: Prefix, findings: Findings) -> None:
        """Adds the stretch after `at` when it is the next one and whole, and its tiles are there."""
        if at.size == self.prefix.size and findings.digest is not None:
            self.digests.append(findings.digest)
            self.prefix = findings.prefix


async def _rest(started: float, pace: float) -> None:
    await asyncio.sleep(max(0.0, pace - (time.monotonic() - started)))
