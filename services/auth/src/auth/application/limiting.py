"""Limits on guessing: what a use case says before it looks at a credential, and after it was right."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from auth.domain.limits import GrowingDelay
from shared.addresses import address_prefix
from shared.bus import CallContext
from shared.bus.notes import note_charge
from shared.limits import Charge, FixedWindow, Policy, RateLimited

MAX_REMEMBERED = 10_000


class Limit(StrEnum):
    """What is limited (docs/security.md, Guessing). Each is counted apart from the others."""

    LOGIN = "login"
    """All log-ins from one address prefix, right ones too: an own account must not make room for guesses at others."""
    PASSWORD = "password"  # noqa: S105  # a limit's name
    """Wrong passwords of one account from one address prefix."""
    TOTP = "totp"
    """Wrong one-time and backup codes of one account, from wherever they come."""


Counted = tuple[Limit, str]
"""A counter: of what, and whose."""


class Limits(Protocol):
    """The counters, shared by all replicas."""

    async def charge(self, *counted: Counted) -> None:
        """Counts a try before it is made, so that tries at the same time cannot pass together; raises RateLimited.

        Before the intent is written, too: refused tries must not fill the audit log. Of several counters those after
        one that refuses are not charged.
        """

    def refused_lately(self, *counted: Counted) -> bool:
        """Whether one of the counters has refused a try here, not long ago."""

    async def forgive(self, limit: Limit, bucket: str) -> None:
        """Takes the counts of the bucket back: what was shown was right."""

    def forgiven(self, limit: Limit) -> None:
        """Has the answer say so where the counts were taken back together with what the right try has opened."""


class LimitStore(Protocol):
    """Where the counters are kept."""

    async def charge(self, buckets: Sequence[tuple[Policy, str]]) -> Sequence[Charge]:
        """Charges the buckets, alone, up to the first that refuses.

        No other charge of them, by whatever replica, sees the records before.
        """

    async def clear(self, policy: Policy, bucket: str) -> None:
        """Brings the bucket back to the start."""


class Limiter:
    """Applies the policies, and has every answer say how the limits stand."""

    def __init__(self, store: LimitStore, policies: Mapping[Limit, Policy], *, now: Callable[[], datetime]) -> None:
        self._store = store
        self._policies = policies
        self._now = now
        self._refused: OrderedDict[Counted, datetime] = OrderedDict()

    async def charge(self, *counted: Counted) -> None:
        """See Limits. Without its database nobody may try: raises DatabaseUnavailable."""
        charges = await self._store.charge([(self._policies[limit], bucket) for limit, bucket in counted])
        for each, charge in zip(counted, charges, strict=False):  # one that refuses is the last
            note_charge(charge)
            if charge.is_refused:
                self._remember(each, charge)
                raise RateLimited.by(charge)

    def refused_lately(self, *counted: Counted) -> bool:
        """See Limits. By memory alone: what is forgotten, or refused by another replica, is merely not known here."""
        return any(each in self._refused and self._now() < self._refused[each] for each in counted)

    async def forgive(self, limit: Limit, bucket: str) -> None:
        """See Limits."""
        await self._store.clear(self._policies[limit], bucket)
        self.forgiven(limit)

    def forgiven(self, limit: Limit) -> None:
        """See Limits."""
        policy, now = self._policies[limit], self._now()
        note_charge(Charge(policy, policy.start(now), now, is_refused=False))

    def _remember(self, counted: Counted, charge: Charge) -> None:
        self._refused[counted] = charge.policy.forgotten_at(charge.record)
        self._refused.move_to_end(counted)
        if len(self._refused) > MAX_REMEMBERED:
            self._refused.popitem(last=False)


def policies(*, logins_per_minute: int) -> Mapping[Limit, Policy]:
    """The limits as docs/security.md tells them."""
    login = FixedWindow(
        name=Limit.LOGIN,
        quota=logins_per_minute,
        window=timedelta(minutes=1),
        first_block=timedelta(minutes=1),
        longest_block=timedelta(minutes=5),
    )
    password = GrowingDelay(
        name=Limit.PASSWORD,
        quota=10,
        # Ten of the longest delays: to wait until the ten free ones are back is no faster than to guess on.
        window=timedelta(minutes=10),
        first_block=timedelta(seconds=1),
        longest_block=timedelta(seconds=60),
    )
    totp = FixedWindow(
        name=Limit.TOTP,
        quota=5,
        window=timedelta(minutes=1),
        first_block=timedelta(minutes=1),
        longest_block=timedelta(minutes=10),
    )
    return {Limit.LOGIN: login, Limit.PASSWORD: password, Limit.TOTP: totp}


def password_bucket(email: str, context: CallContext) -> str:
    """Where wrong passwords of an account are counted: by address prefix, so that none elsewhere keep its owner out.

    `email` in its normal form, whether there is such an account or not.
    """
    return f"{email}|{address_prefix(context.caller.origin.ip_address)}"
