"""Health: how an agent fares, judged by probes and by the work it is given."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Self

from orchestrator.domain.circuit import Circuit

Status = Literal["online", "degraded", "offline", "maintenance"]

NEW = Circuit()
PROBE_EVERY_S = 30.0
PROBE_AGAIN_S = 0.5
SLOWER_AFTER_SLOW = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What one replica knows of an agent."""

    circuit: Circuit = NEW
    has_answered: bool = False
    in_maintenance: bool = False
    latency_ms: float | None = None
    request_count: int = 0
    error_count: int = 0
    checked_at: datetime | None = None
    details: str = "Not checked yet."
    was_slow: bool = False
    """Whether the last probe failed slowly."""

    @property
    def status(self) -> Status:
        """In a word."""
        if self.in_maintenance:
            return "maintenance"
        if not self.has_answered or self.circuit.state == "open":
            return "offline"
        return "online" if self.circuit.is_well else "degraded"

    @property
    def takes_work(self) -> bool:
        """Whether it may be chosen."""
        return self.has_answered and not self.in_maintenance and self.circuit.takes_work

    @property
    def success_rate(self) -> float | None:
        """The share of requests that succeeded, from 0 to 1; None before the first."""
        if not self.request_count:
            return None
        return round(1 - self.error_count / self.request_count, 4)

    def pause_s(self, *, now_s: float) -> float:
        """How long to wait before the next probe.

        Four times as long after one that failed slowly, since each such probe holds a slot for seconds.
        """
        slower = SLOWER_AFTER_SLOW if self.was_slow else 1
        circuit = self.circuit
        if circuit.state == "open":
            return min(max(circuit.until_s - now_s, 0.0), PROBE_EVERY_S * slower)
        if circuit.failures:
            return PROBE_EVERY_S if circuit.failed_at_work else PROBE_AGAIN_S * slower
        return PROBE_EVERY_S

    def probed_well(self, details: str, *, latency_ms: float, at: datetime, now_s: float) -> Self:
        """A probe was answered."""
        circuit = self.circuit.probed_well(now_s=now_s)
        return replace(
            self,
            circuit=circuit,
            has_answered=True,
            latency_ms=latency_ms,
            checked_at=at,
            details=details if circuit.is_well else self.details,
            was_slow=False,
        )

    def probed_badly(self, details: str, *, at: datetime, now_s: float, was_slow: bool = False) -> Self:
        """A probe failed: nobody is there, or nobody who answers in time."""
        return replace(
            self,
            circuit=self.circuit.failed(at_work=False, now_s=now_s),
            latency_ms=None,
            checked_at=at,
            details=details,
            was_slow=was_slow,
        )

    @property
    def is_well(self) -> bool:
        """Whether nothing is left for success to heal."""
        return self.has_answered and self.circuit.is_well

    def succeeded(self, *, now_s: float) -> Self:
        """It did its work."""
        count = self.request_count + 1
        if self.is_well:
            return replace(self, request_count=count)
        return replace(
            self,
            circuit=self.circuit.succeeded(now_s=now_s),
            has_answered=True,
            details="Answers.",
            request_count=count,
            was_slow=False,
        )

    def failed(self, details: str, *, now_s: float, is_trial: bool = False) -> Self:
        """It did not do its work."""
        return replace(
            self,
            circuit=self.circuit.failed(at_work=True, now_s=now_s, is_trial=is_trial),
            details=details,
            request_count=self.request_count + 1,
            error_count=self.error_count + 1,
        )

    def refused(self, *, now_s: float, is_trial: bool = False) -> Self:
        """It answered that the request was wrong: no fault of its own, and enough of an answer for a trial."""
        circuit = self.circuit.succeeded(now_s=now_s) if is_trial else self.circuit
        return replace(self, circuit=circuit, request_count=self.request_count + 1)
