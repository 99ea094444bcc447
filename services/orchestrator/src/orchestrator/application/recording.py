"""Recording how attempts went: counted in memory at once, and written a moment later."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from orchestrator.domain.metrics import MINUTES_PER_DAY, Attempted, Sums
from shared.background import beside
from shared.database import DatabaseUnavailable

SAVE_EVERY_S = 1.0
SAVES_PER_S = 200
"""Agents' minutes written per second on the average: among 1,000 agents each has news each second."""

Key = tuple[str, int]
"""An agent, and a minute or a day, counted since the Unix epoch."""


class SumsKeeper(Protocol):
    """Where a replica's sums are kept."""

    async def save(self, minutes: Mapping[Key, Sums], days: Mapping[Key, Sums]) -> None:
        """Keeps this replica's sums of minutes and of days, as they are now; raises DatabaseUnavailable."""
        ...


class Recorder:
    """Counts attempts. A process that is killed loses those of the last second, one that is stopped none.

    With more than SAVES_PER_S agents at work it is that of some seconds: five for 1,000.
    """

    def __init__(self, keeper: SumsKeeper, *, clock: Callable[[], float] = time.time) -> None:
        self._keeper = keeper
        self._clock = clock
        self._minute = 0
        self._ends_s = 0.0
        self._current: dict[str, Sums] = {}
        """Those of this minute, by agent."""
        self._minutes: dict[Key, Sums] = {}
        """These, and those before that are not written."""
        self._written: dict[Key, int] = {}
        """How many attempts of these are written."""
        self._days: dict[Key, Sums] = {}
        """What days come to without these minutes."""
        self._has_unsaved = asyncio.Event()

    def note(self, agent_id: str, attempted: Attempted) -> None:
        """An attempt has ended now. Costs about a microsecond and never fails."""
        if self._clock() >= self._ends_s:
            self._begin_minute()
        sums = self._current.get(agent_id)
        if sums is None:
            sums = self._current[agent_id] = self._minutes[agent_id, self._minute] = Sums()
        sums.add(attempted)
        self._has_unsaved.set()

    @asynccontextmanager
    async def saving(self) -> AsyncIterator[None]:
        """Writes what was noted while the block runs, and the rest at its end."""
        try:
            async with beside(self._save_always):
                yield
        finally:
            with suppress(DatabaseUnavailable):  # the log has it
                await self._save()

    def _begin_minute(self) -> None:
        """The minute before is over. Where the clock is set back it goes on: what is written must not begin again."""
        self._minute = int(self._clock()) // 60
        self._ends_s = (self._minute + 1) * 60.0
        self._current = {}

    async def _save_always(self) -> None:
        while True:
            await self._has_unsaved.wait()
            saved = 0
            with suppress(DatabaseUnavailable):  # tried again
                saved = await self._save()
            await asyncio.sleep(max(SAVE_EVERY_S, saved / SAVES_PER_S))

    async def _save(self) -> int:
        """Returns how many agents' minutes it has written."""
        self._has_unsaved.clear()
        unsaved = {key: sums for key, sums in self._minutes.items() if not self._is_written(key)}
        if not unsaved:
            return 0
        counts = {key: sums.request_count for key, sums in unsaved.items()}
        try:
            await self._keeper.save(unsaved, self._days_of(unsaved))
        except BaseException:
            self._has_unsaved.set()
            raise
        self._written.update(counts)
        self._close_past()
        return len(counts)

    def _is_written(self, key: Key) -> bool:
        return self._written.get(key) == self._minutes[key].request_count

    def _days_of(self, minutes: Iterable[Key]) -> dict[Key, Sums]:
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
        if self._clock() >= self._ends_s:
            self._begin_minute()
        for key in [key for key in self._minutes if key[1] < self._minute and self._is_written(key)]:
            self._days.setdefault(_day_of(key), Sums()).merge(self._minutes.pop(key))
            del self._written[key]
        to_come = {_day_of(key) for key in self._minutes}
        today = self._minute // MINUTES_PER_DAY
        self._days = {key: sums for key, sums in self._days.items() if key[1] >= today or key in to_come}


def _day_of(key: Key) -> Key:
    return key[0], key[1] // MINUTES_PER_DAY
