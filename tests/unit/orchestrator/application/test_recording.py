"""Counting attempts in memory, and writing the sums."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from orchestrator.application import recording
from orchestrator.application.recording import Key, Recorder
from orchestrator.domain.metrics import Attempted, Sums
from shared.database import DatabaseUnavailable
from tests.waiting import until

MIDNIGHT = 1_795_305_600.0  # 2026-11-22T00:00:00Z
MINUTE = int(MIDNIGHT) // 60
DAY = MINUTE // (24 * 60)
DONE = Attempted("success", 12.0, None, 1, 2)


@dataclass
class Keeper:
    """Keeps counts as the database would; fails as often as it is told to."""

    minutes: dict[Key, int] = field(default_factory=dict)
    days: dict[Key, int] = field(default_factory=dict)
    saves: int = 0
    failures: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def save(self, minutes: Mapping[Key, Sums], days: Mapping[Key, Sums]) -> None:
        of_minutes = {key: sums.request_count for key, sums in minutes.items()}
        of_days = {key: sums.request_count for key, sums in days.items()}
        self.saves += 1
        await self.go.wait()
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("It is locked.")
        self.minutes |= of_minutes
        self.days |= of_days


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = MIDNIGHT

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Keeper:
    monkeypatch.setattr(recording, "SAVE_EVERY_S", 0.01)
    keeper = Keeper()
    keeper.go.set()
    return keeper


async def test_what_was_noted_is_written_soon_and_the_rest_at_the_end(keeper: Keeper) -> None:
    recorder = Recorder(keeper, clock=Clock())
    async with recorder.saving():
        recorder.note("x", DONE)
        await until(lambda: keeper.minutes == {("x", MINUTE): 1})
        recorder.note("x", DONE)
        recorder.note("y", DONE)

    assert keeper.minutes == {("x", MINUTE): 2, ("y", MINUTE): 1}
    assert keeper.days == {("x", DAY): 2, ("y", DAY): 1}


async def test_a_day_is_all_of_its_minutes_also_of_those_that_were_written_before(keeper: Keeper) -> None:
    clock = Clock()
    recorder = Recorder(keeper, clock=clock)
    async with recorder.saving():
        for minute in (-2, -1, 0, 1, 2):
            clock.now = MIDNIGHT + 60 * minute
            recorder.note("x", DONE)
            await until(lambda: ("x", int(clock.now) // 60) in keeper.minutes)

    assert keeper.minutes == {("x", MINUTE + minute): 1 for minute in (-2, -1, 0, 1, 2)}
    assert keeper.days == {("x", DAY - 1): 2, ("x", DAY): 3}


async def test_what_is_noted_while_it_is_written_is_written_next(keeper: Keeper) -> None:
    recorder = Recorder(keeper, clock=Clock())
    keeper.go.clear()
    async with recorder.saving():
        recorder.note("x", DONE)
        await until(lambda: keeper.saves == 1)
        recorder.note("x", DONE)
        keeper.go.set()

    assert keeper.minutes == {("x", MINUTE): 2}


async def test_what_cannot_be_written_is_written_later(keeper: Keeper) -> None:
    clock = Clock()
    recorder = Recorder(keeper, clock=clock)
    keeper.failures = 3
    async with recorder.saving():
        recorder.note("x", DONE)
        await until(lambda: keeper.failures < 3)
        clock.now += 60
        recorder.note("x", DONE)
        await until(lambda: not keeper.failures and len(keeper.minutes) == 2)

    assert keeper.minutes == {("x", MINUTE): 1, ("x", MINUTE + 1): 1}
    assert keeper.days == {("x", DAY): 2}


async def test_a_clock_that_is_set_back_does_not_begin_a_written_minute_again(keeper: Keeper) -> None:
    clock = Clock()
    recorder = Recorder(keeper, clock=clock)
    async with recorder.saving():
        for minute in (0, 1):
            clock.now = MIDNIGHT + 60 * minute
            recorder.note("x", DONE)
            await until(lambda: ("x", int(clock.now) // 60) in keeper.minutes)
        clock.now = MIDNIGHT
        recorder.note("x", DONE)

    assert keeper.minutes == {("x", MINUTE): 1, ("x", MINUTE + 1): 2}


async def test_an_idle_recorder_writes_nothing(keeper: Keeper) -> None:
    async with Recorder(keeper).saving():
        pass

    assert keeper.saves == 0
