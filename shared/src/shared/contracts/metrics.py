"""What the orchestrator tells of its agents' work: counts, latencies and tokens."""

from typing import Literal

from pydantic import Field

from shared.bus import Contract, Kind, Message, Moment, Nothing
from shared.contracts.orchestrator import AgentStatus, AgentType

Window = Literal["15m", "1h", "6h", "24h", "7d", "30d"]


class ReadMetrics(Message):
    """One agent, and how far to look back."""

    id: str
    window: Window = "1h"


class Percentiles(Message):
    """In milliseconds; each off by 3.2 % at most."""

    p50: float
    p95: float
    p99: float


class Today(Message):
    """What came of the day so far, in UTC."""

    request_count: int
    success_count: int
    error_count: int
    tokens_in: int
    tokens_out: int


class Step(Message):
    """What came of one step, which begins at `at`."""

    at: Moment
    request_count: int
    error_count: int
    tokens_in: int
    tokens_out: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    first_token_p50_ms: float | None


class AgentMetrics(Message):
    """How an agent did, counted in attempts, over all replicas. Nulls where there is nothing to tell.

    Requests are successes, errors (failures and time-outs), refusals of the request by the agent, and what was
    cancelled. `success_rate` is the share of successes in successes and errors. Latencies are of successes.
    The last step is the one under way: it ends at `to`.
    """

    agent_id: str
    window: Window
    from_: Moment = Field(alias="from")
    to: Moment
    request_count: int
    success_count: int
    error_count: int
    refused_count: int
    cancelled_count: int
    timeout_count: int
    success_rate: float | None
    latency_ms: Percentiles | None
    first_token_ms: Percentiles | None
    tokens_in: int
    tokens_out: int
    today: Today
    series: list[Step]


class LatencyTotals(Message):
    """How many answers took at most so many seconds, for each of the bounds; how many all are; and their sum."""

    bounds: list[float]
    counts: list[int]
    count: int
    sum_seconds: float


class AgentTotal(Message):
    """What an agent has done since ever, and how it is now. Counts never fall."""

    id: str
    name: str
    type: AgentType
    status: AgentStatus
    circuit: Literal["closed", "open", "half-open"]
    outcomes: dict[str, int]
    tokens_in: int
    tokens_out: int
    latency: LatencyTotals


class AgentTotals(Message):
    """All agents of the pool."""

    agents: list[AgentTotal]


READ_METRICS = Contract("orchestrator.metrics.read", ReadMetrics, AgentMetrics, Kind.READ)
READ_TOTALS = Contract("orchestrator.metrics.totals", Nothing, AgentTotals, Kind.READ)
