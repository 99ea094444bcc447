"""Metrics of agents: how attempts ended, in sums that can be added up, and how long they took, in histograms."""

from collections.abc import Iterable, Mapping
from math import ceil, frexp
from typing import Literal, NamedTuple

Outcome = Literal["success", "failed", "timeout", "refused", "cancelled"]
OUTCOMES: tuple[Outcome, ...] = ("success", "failed", "timeout", "refused", "cancelled")

SHORTEST_MS = 2.0**-4
LONGEST_MS = 2.0**24
"""Four and a half hours. What is shorter or longer than these counts as these."""

MINUTES_PER_HOUR = 60
MINUTES_PER_DAY = 24 * 60


class Attempted(NamedTuple):
    """An attempt that has ended. `first_token_ms`: until the first piece of an answer that was streamed."""

    outcome: Outcome
    latency_ms: float
    first_token_ms: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Histogram:
    """How often values occurred, in buckets of which each octave has 16 of equal width.

    So a percentile is off by 1/32 at most, and that of added histograms is that of all their values.
    """

    __slots__ = ("counts",)

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self.counts = {} if counts is None else counts

    def add(self, value: float) -> None:
        """Counts a value."""
        index = _bucket(value)
        self.counts[index] = self.counts.get(index, 0) + 1

    def merge(self, counts: Iterable[tuple[int, int]]) -> None:
        """Adds the counts of buckets of another one."""
        own = self.counts
        for index, count in counts:
            own[index] = own.get(index, 0) + count

    @property
    def total(self) -> int:
        """How many values were counted."""
        return sum(self.counts.values())

    def percentile(self, percent: int) -> float | None:
        """A value that at least so many per cent of all do not exceed (nearest rank); None of nothing."""
        rank = -(-self.total * percent // 100)
        for index in sorted(self.counts):
            rank -= self.counts[index]
            if rank <= 0:
                low, high = _bounds(index)
                return (low + high) / 2
        return None

    def up_to(self, bounds: Iterable[float]) -> list[int]:
        """How many values are at most each of the rising bounds; exact for bounds of buckets, as 25 times 2^n is."""
        found, so_far, buckets = [], 0, sorted(self.counts, reverse=True)
        for last in map(_bucket, bounds):
            while buckets and buckets[-1] <= last:
                so_far += self.counts[buckets.pop()]
            found.append(so_far)
        return found


class Sums:
    """What attempts of an agent in some time come to. Not frozen: an attempt may cost 3 µs."""

    __slots__ = ("completion_tokens", "first_token", "latency", "latency_ms", "outcomes", "prompt_tokens")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.latency_ms = 0.0
        """Of all that succeeded together."""
        self.latency = Histogram()
        """Of those that succeeded, in milliseconds: failures can be quick, and time-outs are as long as they may be."""
        self.first_token = Histogram()

    def add(self, attempted: Attempted) -> None:
        """Counts an attempt."""
        outcome, latency_ms, first_token_ms, prompt_tokens, completion_tokens = attempted
        self.outcomes[outcome] += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        if outcome == "success":
            self.latency_ms += latency_ms
            self.latency.add(latency_ms)
        if first_token_ms is not None:
            self.first_token.add(first_token_ms)

    def merge(self, other: "Sums") -> None:
        """Adds what others come to."""
        for outcome, count in other.outcomes.items():
            self.outcomes[outcome] += count
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.latency_ms += other.latency_ms
        self.latency.merge(other.latency.counts.items())
        self.first_token.merge(other.first_token.counts.items())

    @property
    def request_count(self) -> int:
        """How many there were."""
        return sum(self.outcomes.values())

    @property
    def success_count(self) -> int:
        """How many the agent has answered."""
        return self.outcomes["success"]

    @property
    def error_count(self) -> int:
        """How many failed by the agent's fault, those that took too long among them."""
        return self.outcomes["failed"] + self.outcomes["timeout"]

    @property
    def success_rate(self) -> float | None:
        """From 0 to 1, of those that succeeded or failed by the agent's fault; None without any."""
        judged = self.success_count + self.error_count
        return round(self.success_count / judged, 4) if judged else None


class Window(NamedTuple):
    """A time that is looked back on, and the steps that it is told in; in minutes. Steps divide a day."""

    length: int
    step: int

    def steps(self, minute: int) -> range:
        """Where the steps begin, in minutes since the Unix epoch; `minute` is in the last one."""
        end = (minute // self.step + 1) * self.step
        return range(end - self.length, end, self.step)


WINDOWS: Mapping[str, Window] = {
    "15m": Window(15, 1),
    "1h": Window(60, 1),
    "6h": Window(6 * 60, 5),
    "24h": Window(24 * 60, 15),
    "7d": Window(7 * MINUTES_PER_DAY, 2 * 60),
    "30d": Window(30 * MINUTES_PER_DAY, 6 * 60),
}


def added_up(found: Iterable[Sums]) -> Sums:
    """All of them as one."""
    together = Sums()
    for sums in found:
        together.merge(sums)
    return together


def _bucket(value: float) -> int:
    """Bucket 16 e + k, with k from 1 to 16, is of (2^(e-4) (1 + (k-1)/16), 2^(e-4) (1 + k/16)]."""
    if not SHORTEST_MS <= value <= LONGEST_MS:
        value = min(max(value, SHORTEST_MS), LONGEST_MS)
    mantissa, exponent = frexp(value)
    return 16 * exponent + ceil(mantissa * 32) + 32


def _bounds(index: int) -> tuple[float, float]:
    exponent, place = divmod(index - 49, 16)
    unit = 2.0**exponent / 32
    return (place + 16) * unit, (place + 17) * unit
