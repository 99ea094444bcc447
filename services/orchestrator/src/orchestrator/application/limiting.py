"""Limits of dispatch: how many requests a minute, and for API keys how many tokens a day and which models."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Protocol

from orchestrator.application.orders import Answer, Order
from orchestrator.application.upstreams import UpstreamFailure
from orchestrator.domain.agent import Agent
from orchestrator.domain.budget import Account, likely_tokens
from orchestrator.domain.chat import Completion
from shared.bus import CallContext
from shared.bus.notes import LimitState, note_charge, note_limit
from shared.clock import from_unix_ms
from shared.errors import ErrorCode, PlatformError
from shared.limits import Charge, FixedWindow, RateLimited
from shared.principal import Allowance, Principal, PrincipalKind

RESERVED_BEYOND_DEADLINE_S = 10
"""How long a reservation outlives its call's deadline: calls are cut off 5 s after it."""
DAY_S = 24 * 60 * 60


class TokenBudgetExhausted(PlatformError):
    """What this request may use at most does not fit into what is left of the key's day."""

    code = ErrorCode.RATE_LIMITED
    reason = "token-budget-exhausted"


class RequestLimits(Protocol):
    """The counters of requests, shared by all replicas."""

    async def charge(self, policy: FixedWindow, whose: str) -> Charge:
        """Counts a request before it is worked on; raises RecordsUnavailable, and then it must not be."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """Tokens of a key's day that a call under way may use; gone at `until` when its replica dies."""

    account: Account
    budget: int
    tokens: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Reserved:
    """What came of a wish to reserve: the reservation, or None and when to try again."""

    reservation: Reservation | None
    free: int
    """Tokens of the budget that are free from now on."""
    resets_in_s: int
    """Seconds until the end of the budget's day."""
    fits_in_s: int
    """Seconds until it fits at the latest, as far as is known."""


class TokenBudgets(Protocol):
    """The tokens of keys by day, shared by all replicas."""

    async def reserve(self, key_id: str, budget: int, tokens: int, *, until: datetime) -> Reserved:
        """Sets tokens of today's budget aside; raises RecordsUnavailable or DatabaseUnavailable."""
        ...

    def settle(self, reservation: Reservation, used: int) -> None:
        """Replaces a reservation by what was used; that is written in the background until it is."""
        ...


class Spending:
    """What a call uses, where nobody counts it: the caller has no budget."""

    def begin(self) -> None:
        """From now on nobody knows what the agent has used, should there be no answer."""

    def heard(self, tokens: int) -> None:
        """So many more, as far as can be told, have arrived of a stream: should it break off, these were used."""

    def answered(self, answer: Answer) -> None:
        """It used what it counted, or where it does not say, an estimate by bytes."""

    def failed(self, failure: UpstreamFailure) -> None:
        """A failure in which an agent cannot have answered uses nothing."""

    def end(self) -> None:
        """The call is over; a reservation becomes what was used."""


class ReservedSpending(Spending):
    """What a call uses of its key's day: nothing until it is sent, then all that it may, until the agent says."""

    def __init__(
        self, prompt: Sequence[str], budgets: TokenBudgets, reserved: Reserved, reservation: Reservation
    ) -> None:
        self._prompt = prompt
        self._budgets = budgets
        self._reserved = reserved
        self._reservation = reservation
        self._used = 0
        self._heard = 0

    def begin(self) -> None:
        """See Spending."""
        self._used, self._heard = self._reservation.tokens, 0

    def heard(self, tokens: int) -> None:
        """See Spending."""
        if not self._heard:
            self._heard = likely_tokens(self._prompt)
        self._heard += tokens
        self._used = min(self._heard, self._reservation.tokens)

    def answered(self, answer: Answer) -> None:
        """See Spending."""
        said = answer.said if isinstance(answer, Completion) else ()
        if not answer.prompt_tokens and not answer.completion_tokens:
            self._used = max(likely_tokens([*self._prompt, *said]), self._heard)
        else:
            asked = likely_tokens(self._prompt)
            answered = answer.completion_tokens or max(likely_tokens(said), self._heard - asked)
            self._used = (answer.prompt_tokens or asked) + answered

    def failed(self, failure: UpstreamFailure) -> None:
        """See Spending."""
        if failure.is_free:
            self._used = 0

    def end(self) -> None:
        """See Spending."""
        self._budgets.settle(self._reservation, self._used)
        left = self._reserved.free + self._reservation.tokens - self._used
        _note_tokens(self._reservation.budget, max(left, 0), self._reserved)


class Limiter:
    """Applies the limits, and has every answer say how they stand."""

    def __init__(self, requests: RequestLimits, budgets: TokenBudgets, *, per_minute: int) -> None:
        self._requests = requests
        self._budgets = budgets
        self._per_user = _per_minute("dispatch", per_minute)

    async def charge(self, principal: Principal) -> None:
        """Counts a request; raises RateLimited or RecordsUnavailable.

        An API key's own limit comes first: what it refuses does not count against its owner.
        """
        allowance = _allowance_of(principal)
        if allowance.rpm is not None:
            await self._charge(_per_minute("key", allowance.rpm), principal.credential_id)
            if allowance.counts_alone:
                return
        await self._charge(self._per_user, principal.user_id)

    async def _charge(self, policy: FixedWindow, whose: str) -> None:
        charge = await self._requests.charge(policy, whose)
        note_charge(charge)
        if charge.is_refused:
            raise RateLimited.by(charge)

    async def reserve(self, agent: Agent, order: Order, context: CallContext) -> Spending:
        """Sets aside what the agent may use at most.

        Raises TokenBudgetExhausted, RecordsUnavailable or DatabaseUnavailable, and then nothing may be sent.
        """
        budget = _allowance_of(context.principal).tokens_per_day
        if budget is None:
            return _UNCOUNTED
        most = order.most_tokens(agent)
        until = from_unix_ms(context.deadline) + timedelta(seconds=RESERVED_BEYOND_DEADLINE_S)
        reserved = await self._budgets.reserve(context.principal.credential_id, budget, most, until=until)
        _note_tokens(budget, reserved.free, reserved)
        if reserved.reservation is None:
            raise TokenBudgetExhausted(
                f"This request may use {most} tokens; the key has {reserved.free} of {budget} left for today.",
                retry_after=reserved.fits_in_s,
            )
        return ReservedSpending(order.prompt, self._budgets, reserved, reserved.reservation)


def models_of(principal: Principal) -> tuple[str, ...] | None:
    """The only models that the caller may use; None for all."""
    return _allowance_of(principal).models


def _allowance_of(principal: Principal) -> Allowance:
    if principal.kind is not PrincipalKind.KEY or principal.allowance is None:
        return _UNLIMITED
    return principal.allowance


_UNLIMITED = Allowance()
_UNCOUNTED = Spending()


@lru_cache(maxsize=1024)
def _per_minute(name: str, quota: int) -> FixedWindow:
    minute = timedelta(minutes=1)
    return FixedWindow(name=name, quota=quota, window=minute, first_block=minute, longest_block=timedelta(minutes=5))


def _note_tokens(budget: int, left: int, reserved: Reserved) -> None:
    note_limit(LimitState("tokens", budget, DAY_S, left, reserved.resets_in_s))
