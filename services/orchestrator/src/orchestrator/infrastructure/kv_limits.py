"""Counters of requests in records that all replicas share, with permits ahead for whoever comes often."""

from collections.abc import Callable, Sequence
from datetime import datetime

import orjson

from orchestrator.infrastructure.joined_record import JoinedRecord, forget_idle
from shared.bus.records import Records
from shared.clock import from_unix_ms, to_unix_ms
from shared.limits import Charge, FixedWindow, Record

AHEAD_S = 0.1
"""Permits are taken ahead for as long as this, at the pace of the last ones."""
SHARE_AHEAD = 100
"""At most one in so many of those that are left: what a replica does not use of them, another one has to refuse."""


class KvLimits:
    """Keeps the counters."""

    def __init__(self, records: Records, *, now: Callable[[], datetime]) -> None:
        self._records = records
        self._now = now
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    async def charge(self, policy: FixedWindow, whose: str) -> Charge:
        """Counts a request; raises RecordsUnavailable."""
        bucket = self._buckets.get((policy.name, whose))
        if bucket is None or bucket.policy is not policy:
            forget_idle(self._buckets)
            bucket = self._buckets[policy.name, whose] = _Bucket(self._records, policy, whose, now=self._now)
        return await bucket.ask(None)


class _Bucket(JoinedRecord[None, Charge]):
    """One counter. What it holds are permits: counted, but not asked for yet."""

    def __init__(self, records: Records, policy: FixedWindow, whose: str, *, now: Callable[[], datetime]) -> None:
        super().__init__(records, f"{policy.name}.{whose}")
        self.policy = policy
        self._now = now
        self._permits = 0
        self._record: Record | None = None
        self._ends = self._updated_at = datetime.min.replace(tzinfo=now().tzinfo)
        self._taken = 0
        self._next: tuple[Record, datetime, int, int] | None = None

    def at_hand(self, _wish: None) -> Charge | None:
        """A permit for this window, or a refusal inside a block, which nothing makes shorter."""
        record = self._record
        if record is None:
            return None
        now = self._now()
        if now < record.blocked_until:
            return self.policy.charge(record, now=now)
        if not self._permits or not record.began <= now < self._ends:
            return None
        self._permits -= 1
        # Not `_replace`, which takes four times as long: nearly every request comes by here.
        counted = Record(record.began, record.blocked_until, record.count - self._permits, record.level)
        return Charge(self.policy, counted, now, is_refused=False)

    async def decide(self, value: bytes | None, wishes: Sequence[None]) -> tuple[bytes | None, Sequence[Charge]]:
        """Charges all wishes, and takes some permits more."""
        now = self._now()
        before = None if value is None else _read(value)
        passed, charge = self.policy.charge_all(before, now=now, tries=len(wishes))
        permits = 0 if charge.is_refused else self._permits_for(charge, now)
        record = charge.record._replace(count=charge.record.count + permits)
        self._next = record, now, permits, passed
        answers = [
            Charge(self.policy, charge.record, now, is_refused=number >= passed) for number in range(len(wishes))
        ]
        return (None if record == before else _written(record)), answers

    def decided(self) -> None:
        """What was decided last is true now."""
        assert self._next is not None
        self._record, self._updated_at, self._permits, passed = self._next
        self._taken = passed + self._permits
        self._ends = self._record.began + self.policy.window

    def unclaimed(self, answer: Charge) -> None:
        """It stays counted: the request was made."""

    def _permits_for(self, charge: Charge, now: datetime) -> int:
        """As many as were taken in a moment lately, at most twice as many as the last time."""
        since_s = (now - self._updated_at).total_seconds()
        pace = 2.0 if since_s <= AHEAD_S / 2 else AHEAD_S / since_s
        return min(charge.remaining // SHARE_AHEAD, int(self._taken * pace))


def _written(record: Record) -> bytes:
    return orjson.dumps([to_unix_ms(record.began), to_unix_ms(record.blocked_until), record.count, record.level])


def _read(value: bytes) -> Record:
    began, blocked_until, count, level = orjson.loads(value)
    return Record(began=from_unix_ms(began), blocked_until=from_unix_ms(blocked_until), count=count, level=level)
