"""An agent's circuit: after failures in a row it gets no work for a while, then one trial, then less than usual."""

from dataclasses import dataclass, replace
from typing import Literal, Self

State = Literal["closed", "open", "half-open"]

FAILURES_TO_OPEN = 3
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 300.0
WARM_UP_S = 30.0
WARM_UP_STEPS = 10
TRIAL_LAPSES_S = 130.0
"""When a trial is taken for lost: past the longest dispatch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """Moments named `…_s` are of a monotonic clock, in seconds.

    Probes and work are counted together. A probe shows that somebody is there, not that work succeeds: what failed at
    work last is acquitted by work only. So a probe ends a row of failures, or closes the circuit, when the last failure
    was a probe's; otherwise it makes the circuit half-open once the pause is over, and one piece of work is the trial.
    """

    state: State = "closed"
    failures: int = 0
    """In a row, while it is closed."""
    failed_at_work: bool = False
    """Whether the last failure was of work."""
    rounds: int = 0
    """How often it was opened since it was closed last."""
    until_s: float = 0.0
    """Open: when the next trial may begin. On trial: when that is taken for lost."""
    on_trial: bool = False
    closed_at_s: float | None = None

    @property
    def takes_work(self) -> bool:
        """Whether work may be given, at least one piece."""
        return self.state != "open"

    @property
    def is_well(self) -> bool:
        """Whether nothing is left for success to heal."""
        return self.state == "closed" and not self.failures

    def failed(self, *, at_work: bool, now_s: float, is_trial: bool = False) -> Self:
        """A probe failed, or work did. While it is not closed, work that was begun before is no trial."""
        if self.state == "closed":
            failures = self.failures + 1
            counted = replace(self, failures=failures, failed_at_work=at_work)
            return counted._opened(now_s) if failures >= FAILURES_TO_OPEN else counted
        if at_work and not is_trial:
            return self
        counted = replace(self, failed_at_work=at_work)
        if self.state == "open" and now_s < self.until_s:
            return counted
        return counted._opened(now_s)

    def succeeded(self, *, now_s: float) -> Self:
        """Work succeeded."""
        return self if self.is_well else self._closed(now_s)

    def probed_well(self, *, now_s: float) -> Self:
        """A probe was answered."""
        if not self.failed_at_work:
            return self.succeeded(now_s=now_s)
        if self.state == "open" and now_s >= self.until_s:
            return replace(self, state="half-open")
        if self.on_trial and now_s >= self.until_s:
            return self.untried()
        return self

    def tried(self, *, now_s: float) -> Self:
        """The one trial begins. It must be half-open."""
        return replace(self, on_trial=True, until_s=now_s + TRIAL_LAPSES_S)

    def untried(self) -> Self:
        """The trial showed nothing: the next one may begin."""
        return replace(self, on_trial=False)

    def warmth(self, *, now_s: float) -> int:
        """How much of its weight counts, in parts of WARM_UP_STEPS: all of it WARM_UP_S after it was closed."""
        if self.state == "half-open":
            return 1
        if self.closed_at_s is None or now_s >= self.closed_at_s + WARM_UP_S:
            return WARM_UP_STEPS
        return min(WARM_UP_STEPS, 1 + int((now_s - self.closed_at_s) / WARM_UP_S * WARM_UP_STEPS))

    def _opened(self, now_s: float) -> Self:
        pause_s = min(FIRST_PAUSE_S * 2 ** min(self.rounds, 16), LONGEST_PAUSE_S)
        return replace(self, state="open", failures=0, rounds=self.rounds + 1, until_s=now_s + pause_s, on_trial=False)

    def _closed(self, now_s: float) -> Self:
        return type(self)(closed_at_s=self.closed_at_s if self.state == "closed" else now_s)
