"""Recording how attempts went: counted in memory at once, and written a moment later."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from orchestrator.domain.metrics import MINUTES_PER_DAY, Attempted, Sums
from shared.database import DatabaseUnavailable

SAVE_EVERY_S = 1.0

Key = tuple[str, int]
"""An agent, and a minute or a day, counted since the Unix epoch."""


class SumsKeeper(Protocol):
    """Where a replica's sums are kept."""

    async def save(self, minutes: Mapping[Key, Sums], days: Mapping[Key, Sums]) -> None:
        """Keeps this replica's sums of minutes and of days, as they are now; raises DatabaseUnavailable."""
        ...


class Recorder:
    """Counts attempts. A process that is killed loses those of the last second, one that is stopped none."""

    def __init__(self, keeper: SumsKeeper, *, clock: Callable[[], float] = time.time) -> None:
        self._keeper = keeper
        self._clock = clock
        self._minute = 0
        self._minutes: dict[Key, Sums] = {}
        """Those that may still grow, or are not written."""
        self._days: dict[Key, Sums] = {}
        """What days come to without these."""
        self._unsaved: set[Key] = set()
        self._has_unsaved = asyncio.Event()

    def note(self, agent_id: str, attempted: Attempted) -> None:
        """An attempt has ended now. Costs about a microsecond and never fails."""
        key = (agent_id, self._now())
        sums = self._minutes.get(key)
        if sums is None:
            sums = self._minutes[key] = Sums()
        sums.add(attempted)
        self._unsaved.add(key)
        self._has_unsaved.set()

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[None]:
        """Writes what was noted while the block runs, and the rest at its end."""
        task = asyncio.create_task(self._save_always())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            with suppress(DatabaseUnavailable):  # the log has it
                await self._save()

    def _now(self) -> int:
        """The minute. It never goes back, as the clock may: a minute that is written and over must not begin again."""
        self._minute = max(self._minute, int(self._clock()) // 60)
        return self._minute

    async def _save_always(self) -> None:
        while True:
            await self._has_unsaved.wait()
            with suppress(DatabaseUnavailable):  # tried again
                await self._save()
            await asyncio.sleep(SAVE_EVERY_S)

    async def _save(self) -> None:
        unsaved, self._unsaved = self._unsaved, set()
        self._has_unsaved.clear()
        if not unsaved:
            return
        try:
            await self._keeper.save({key: self._minutes[key] for key in unsaved}, self._days_of(unsaved))
        except BaseException:
            self._unsaved |= unsaved
            self._has_unsaved.set()
            raise
        self._close_past()

    def _days_of(self, minutes: set[Key]) -> dict[Key, Sums]:
        """The days of these minutes, with all that they come to so far."""
        days = {_day_of(key): Sums() for key in minutes}
        for key, sums in days.items():
            if key in self._days:
                sums.merge(self._days[key])
        for minute, sums in self._minutes.items():
            if (day := _day_of(minute)) in days:
                days[day].merge(sums)
        return days

    def _close_past(self) -> None:
        """Adds minutes that are over and written to their days, and forgets days that are."""
        now = self._now()
        for key in [key for key in self._minutes if key[1] < now and key not in self._unsaved]:
            self._days.setdefault(_day_of(key), Sums()).merge(self._minutes.pop(key))
        to_come = {_day_of(key) for key in self._minutes}
        today = now // MINUTES_PER_DAY
        self._days = {key: sums for key, sums in self._days.items() if key[1] >= today or key in to_come}


def _day_of(key: Key) -> Key:
    return key[0], key[1] // MINUTES_PER_DAY
