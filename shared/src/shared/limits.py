"""Limits: how often something may be tried, and how long whoever does it more often has to wait."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from shared.errors import ErrorCode, PlatformError

_SECOND = timedelta(seconds=1)
_DOUBLINGS = 20
"""More than any block needs to reach its longest; a counter that only grows would overflow in the end."""


class Record(NamedTuple):
    """What is known of one bucket. It is blocked while `blocked_until` is ahead.

    `began` is the beginning of the window that `count` belongs to; `level` is how many blocks there were in a row.
    """

    began: datetime
    blocked_until: datetime
    count: int = 0  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(ABC):
    """A limit's rule: `quota` in a `window`, then blocks that double from `first_block` to `longest_block`."""

    name: str
    quota: int
    window: timedelta
    first_block: timedelta
    longest_block: timedelta

    def __post_init__(self) -> None:
        if self.quota < 1 or not timedelta() < self.first_block <= self.longest_block:
            raise ValueError("a limit lets something through and blocks for some time")

    def charge(self, record: Record | None, *, now: datetime) -> "Charge":
        """Counts a try. One inside a block is refused whatever it is, and makes the block no longer."""
        if record is None or self.forgotten_at(record) <= now:
            record = self.start(now)
        record = _not_from_the_future(record, now, self.longest_block)
        if now < record.blocked_until:
            return Charge(self, record, now, is_refused=True)
        return self.counted(record, now)

    def start(self, now: datetime) -> Record:
        """The record of a bucket of which nothing is known, as if a block had ended long ago.

        Not just now: for a replica whose clock is a moment behind, that would be ahead.
        """
        return Record(began=now, blocked_until=now - self.window)

    def forgotten_at(self, record: Record) -> datetime:
        """When it is as if nothing had been: a whole quiet window after the last window began or the block ended."""
        return max(record.began, record.blocked_until) + self.window

    def block(self, level: int) -> timedelta:
        """How long the block after `level` others is."""
        block: timedelta = self.first_block * 2 ** min(level, _DOUBLINGS)
        return min(block, self.longest_block)

    @abstractmethod
    def counted(self, record: Record, now: datetime) -> "Charge":
        """Counts a try outside of a block."""


class FixedWindow(Policy):
    """Never more than `quota` in a window. One more is a violation: it is refused and begins a block.

    A window without a violation after the block ends the doubling.
    """

    __slots__ = ()

    def charge_all(self, record: Record | None, *, now: datetime, tries: int) -> tuple[int, "Charge"]:
        """Counts `tries` made at once, at least one: how many of them pass, and what came of the last."""
        first = self.charge(record, now=now)
        if first.is_refused:
            return 0, first
        passed = min(tries, 1 + first.remaining)
        last = first._replace(record=first.record._replace(count=first.record.count + passed - 1))
        return passed, (last if passed == tries else self.charge(last.record, now=now))

    def counted(self, record: Record, now: datetime) -> "Charge":
        """See Policy."""
        if record.began < record.blocked_until or record.began + self.window <= now:
            record = record._replace(began=now, count=0)
        if record.blocked_until + self.window <= now:
            record = record._replace(level=0)
        if record.count < self.quota:
            return Charge(self, record._replace(count=record.count + 1), now, is_refused=False)
        until = now + self.block(record.level)
        return Charge(self, record._replace(blocked_until=until, level=record.level + 1), now, is_refused=True)


class Charge(NamedTuple):
    """What came of a try: the record from now on, and whether the try is refused."""

    policy: Policy
    record: Record
    at: datetime
    is_refused: bool

    @property
    def remaining(self) -> int:
        """How many tries would pass now."""
        return 0 if self.at < self.record.blocked_until else max(self.policy.quota - self.record.count, 0)

    @property
    def reset_s(self) -> int:
        """Seconds, rounded up, until the next try passes after a block, or until the window ends."""
        blocked_until = self.record.blocked_until
        end = blocked_until if blocked_until > self.at else self.record.began + self.policy.window
        return -((self.at - end) // _SECOND)


def _not_from_the_future(record: Record, now: datetime, longest_block: timedelta) -> Record:
    """The record as it can be at most: a clock that was set back must not block anybody for longer."""
    latest = now + longest_block
    if record.began <= now and record.blocked_until <= latest:
        return record
    return record._replace(began=min(record.began, now), blocked_until=min(record.blocked_until, latest))


class RateLimited(PlatformError):
    """More than a limit allows, or something inside the block that came of it. It was not done, right or wrong."""

    code = ErrorCode.RATE_LIMITED
    reason = "rate-limited"

    @classmethod
    def by(cls, charge: Charge) -> "RateLimited":
        """The refusal of a charge."""
        seconds = charge.reset_s
        return cls(f"Too many tries; wait {seconds} s before the next one.", retry_after=seconds)
