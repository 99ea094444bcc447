"""Token budgets: what of a key's day is used, what calls under way may still use, and whether another one fits."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import NamedTuple

TOKENS_PER_MESSAGE = 16
"""More than any chat template puts around a message."""
BYTES_PER_TOKEN = 4
"""Of usual text, where an agent does not say what it has used."""


class Account(NamedTuple):
    """An API key's budget on one day of UTC."""

    key_id: str
    day: date

    @property
    def ends(self) -> datetime:
        """The next midnight of UTC."""
        return datetime.combine(self.day + timedelta(days=1), time_of_day(), UTC)


@dataclass(frozen=True, slots=True)
class Hold:
    """Tokens that calls under way may use. With their replica they are lost, and count until then only."""

    tokens: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Share:
    """What one replica has used of a budget and holds of it."""

    used: int
    held: Hold


def free(budget: int, used: int, holds: Iterable[Hold], *, now: datetime) -> int:
    """How many tokens another call may use at most."""
    return max(budget - used - sum(hold.tokens for hold in holds if now < hold.until), 0)


def fits_at(tokens: int, budget: int, used: int, holds: Iterable[Hold], *, now: datetime, latest: datetime) -> datetime:
    """When that many tokens fit at the latest, as far as is known: holds end sooner when their calls do."""
    ahead = sorted((hold for hold in holds if now < hold.until), key=lambda hold: hold.until)
    room = budget - used - sum(hold.tokens for hold in ahead)
    for hold in ahead:
        room += hold.tokens
        if tokens <= room:
            return min(hold.until, latest)
    return latest


def bytes_of(texts: Iterable[str]) -> int:
    """How long they are in UTF-8; no token is shorter than a byte."""
    return sum(len(text.encode()) for text in texts)


def likely_tokens(texts: Iterable[str]) -> int:
    """An estimate of how many tokens these texts are."""
    return -(-bytes_of(texts) // BYTES_PER_TOKEN)
