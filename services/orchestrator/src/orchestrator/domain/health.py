"""Health: how an agent fares, judged by probes and by the work it is given."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Self

Status = Literal["online", "degraded", "offline"]

FAILURES_TO_OFFLINE = 3
MAX_PAUSE_S = 30.0
SLOWER_AFTER_SLOW = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What one replica knows of an agent. Moments named `…_s` are of a monotonic clock, in seconds.

    A probe shows that somebody is there, not that work succeeds: within a pause after failed work it acquits nobody,
    and failures count on until work succeeds. An agent that answers probes but fails at work is tried once per pause.
    """

    status: Status = "offline"
    latency_ms: float | None = None
    request_count: int = 0
    error_count: int = 0
    checked_at: datetime | None = None
    details: str = "Not checked yet."
    failures_in_row: int = 0
    probes_failed: int = 0
    was_slow: bool = False
    trips: int = 0
    failed_at_s: float = float("-inf")

    @property
    def takes_work(self) -> bool:
        """Whether it may be chosen."""
        return self.status != "offline"

    @property
    def success_rate(self) -> float | None:
        """The share of requests that succeeded, from 0 to 1; None before the first."""
        if not self.request_count:
            return None
        return round(1 - self.error_count / self.request_count, 4)

    @property
    def pause_s(self) -> float:
        """How long to wait before the next probe while it is not online: 1, 2, 4 … 30 s.

        Four times that after one that failed slowly, since each such probe holds a slot for seconds: 4, 8, 16 … 120 s.
        """
        rounds = max(self.probes_failed, self.trips, 1)
        pause_s = float(min(2 ** min(rounds - 1, 5), MAX_PAUSE_S))
        return SLOWER_AFTER_SLOW * pause_s if self.was_slow else pause_s

    def probed_well(self, details: str, *, latency_ms: float, at: datetime, now_s: float) -> Self:
        """A probe was answered."""
        health = replace(self, latency_ms=latency_ms, checked_at=at, probes_failed=0, was_slow=False)
        if self.failures_in_row and now_s - self.failed_at_s < self.pause_s:
            return health
        return replace(
            health, status="online", details=details, failures_in_row=min(self.failures_in_row, FAILURES_TO_OFFLINE - 1)
        )

    def probed_badly(self, details: str, *, at: datetime, was_slow: bool = False) -> Self:
        """A probe failed: nobody is there, or nobody who answers in time."""
        return replace(
            self,
            status="offline",
            latency_ms=None,
            checked_at=at,
            details=details,
            probes_failed=self.probes_failed + 1,
            was_slow=was_slow,
        )

    @property
    def is_well(self) -> bool:
        """Whether nothing is left for success to heal."""
        return self.status == "online" and not self.failures_in_row and not self.trips

    def succeeded(self, times: int = 1) -> Self:
        """It did its work."""
        count = self.request_count + times
        if self.is_well:
            return replace(self, request_count=count)
        return replace(
            self,
            status="online",
            details="Answers.",
            request_count=count,
            failures_in_row=0,
            probes_failed=0,
            was_slow=False,
            trips=0,
        )

    def failed(self, details: str, *, now_s: float) -> Self:
        """It did not do its work."""
        failures = self.failures_in_row + 1
        tripped = failures >= FAILURES_TO_OFFLINE
        return replace(
            self,
            status="offline" if tripped or not self.takes_work else "degraded",
            details=details,
            request_count=self.request_count + 1,
            error_count=self.error_count + 1,
            failures_in_row=failures,
            trips=self.trips + 1 if tripped and self.takes_work else self.trips,
            failed_at_s=now_s,
        )

    def refused(self) -> Self:
        """It answered that the request was wrong: no fault of its own."""
        return replace(self, request_count=self.request_count + 1)
