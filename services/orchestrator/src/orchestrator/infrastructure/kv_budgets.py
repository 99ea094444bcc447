"""Token budgets in records that all replicas share. Each replica has a share of its own in them, and writes no other.

A share is an absolute sum, never a difference: written twice, or again after a record was lost, it is still right.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson

from orchestrator.application.limiting import Reservation, Reserved
from orchestrator.domain.budget import Account, Hold, Share, fits_at, free
from orchestrator.infrastructure.joined_record import JoinedRecord, forget_idle
from orchestrator.infrastructure.sql_usage import SqlUsage
from shared.bus.records import Records
from shared.clock import from_unix_ms, to_unix_ms

NOTHING_HELD = Hold(0, from_unix_ms(0))


class KvBudgets:
    """Keeps the budgets; `usage` has what was used where a record is lost."""

    def __init__(self, records: Records, usage: SqlUsage, *, now: Callable[[], datetime]) -> None:
        self._records = records
        self._usage = usage
        self._now = now
        self._ledgers: dict[Account, _Ledger] = {}

    async def reserve(self, key_id: str, budget: int, tokens: int, *, until: datetime) -> Reserved:
        """Sets tokens of today's budget aside; raises RecordsUnavailable or DatabaseUnavailable."""
        account = Account(key_id, self._now().date())
        return await self._ledger(account).ask(_Wish(budget, tokens, until))

    def settle(self, reservation: Reservation, used: int) -> None:
        """Replaces a reservation by what was used, on the day that it was made for."""
        self._ledger(reservation.account).settle(reservation, used)

    def tell_again(self) -> None:
        """Has this replica's shares written again: the records may have been lost."""
        for ledger in self._ledgers.values():
            if not ledger.is_idle:
                ledger.tell()

    def _ledger(self, account: Account) -> "_Ledger":
        ledger = self._ledgers.get(account)
        if ledger is None:
            forget_idle(self._ledgers)
            ledger = self._ledgers[account] = _Ledger(self._records, self._usage, account, now=self._now)
        return ledger


class _Wish(NamedTuple):
    budget: int
    tokens: int
    until: datetime


class _Ledger(JoinedRecord[_Wish, Reserved]):
    """One key's day, as this replica knows it. It is not idle while there are reservations."""

    def __init__(self, records: Records, usage: SqlUsage, account: Account, *, now: Callable[[], datetime]) -> None:
        super().__init__(records, f"tokens.{account.key_id}.{account.day}")
        self._usage = usage
        self._account = account
        self._now = now
        self._used = 0
        self._reservations: set[Reservation] = set()
        self._next: list[Reservation] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be missed if this were forgotten."""
        return super().is_idle and not self._reservations

    def settle(self, reservation: Reservation, used: int) -> None:
        """Replaces a reservation by what was used."""
        self._reservations.remove(reservation)
        if used:
            self._used += used
            self._usage.note(self._account, self._used)
        self.tell()

    def at_hand(self, _wish: _Wish) -> None:
        """Nothing: what is left of a budget is only known together with all others."""

    async def decide(self, value: bytes | None, wishes: Sequence[_Wish]) -> tuple[bytes | None, Sequence[Reserved]]:
        """Makes the reservations that fit, in their order, and writes this replica's share as it is then."""
        shares = _read(value) if value is not None else _used(await self._usage.of(self._account))
        mine = shares.pop(self._usage.replica, None)
        self._used = max(self._used, mine.used if mine else 0)  # more than 0 where it was forgotten meanwhile
        now = self._now()
        used = self._used + sum(share.used for share in shares.values())
        holds = [share.held for share in shares.values()]
        holds += [Hold(each.tokens, each.until) for each in self._reservations]
        self._next = []
        answers = []
        for wish in wishes:
            reservation = None
            if wish.tokens <= free(wish.budget, used, holds, now=now):
                reservation = Reservation(self._account, wish.budget, wish.tokens, wish.until)
                self._next.append(reservation)
                holds.append(Hold(wish.tokens, wish.until))
            answers.append(self._answer(wish, reservation, used, holds, now))
        share = Share(self._used, _together([*self._reservations, *self._next], now))
        if share == mine and value is not None:
            return None, answers
        return _written({**shares, self._usage.replica: share}), answers

    def decided(self) -> None:
        """What was decided last is true now."""
        self._reservations.update(self._next)
        self._next = []

    def unclaimed(self, answer: Reserved) -> None:
        """Nothing will be sent, so nothing is used."""
        if answer.reservation is not None:
            self.settle(answer.reservation, 0)

    def _answer(
        self, wish: _Wish, reservation: Reservation | None, used: int, holds: Sequence[Hold], now: datetime
    ) -> Reserved:
        ends = self._account.ends
        fits = fits_at(wish.tokens, wish.budget, used, holds, now=now, latest=ends)
        left = free(wish.budget, used, holds, now=now)
        return Reserved(reservation, left, resets_in_s=_seconds(now, ends), fits_in_s=_seconds(now, fits))


def _together(reservations: Sequence[Reservation], now: datetime) -> Hold:
    """One hold for all of them: should this replica die, it counts until the last of its calls would have ended."""
    if not reservations:
        return NOTHING_HELD
    return Hold(sum(each.tokens for each in reservations), max(each.until for each in reservations))


def _used(sums: Mapping[str, int]) -> dict[str, Share]:
    return {replica: Share(tokens, NOTHING_HELD) for replica, tokens in sums.items()}


def _written(shares: Mapping[str, Share]) -> bytes:
    return orjson.dumps(
        {name: [share.used, share.held.tokens, to_unix_ms(share.held.until)] for name, share in shares.items()}
    )


def _read(value: bytes) -> dict[str, Share]:
    return {
        name: Share(used, Hold(held, from_unix_ms(until))) for name, (used, held, until) in orjson.loads(value).items()
    }


def _seconds(now: datetime, moment: datetime) -> int:
    return -((now - moment) // timedelta(seconds=1))
