"""The bus's way in for metrics."""

from orchestrator.application.metrics import Measured, Metrics, Total
from orchestrator.domain.metrics import Histogram, Sums
from shared.bus import CallContext, Endpoint, Nothing
from shared.clock import from_unix_ms
from shared.contracts.metrics import (
    READ_METRICS,
    READ_TOTALS,
    AgentMetrics,
    AgentTotal,
    AgentTotals,
    LatencyTotals,
    Percentiles,
    ReadMetrics,
    Step,
    Today,
    Window,
)

BOUNDS_S = tuple(0.025 * 2**power for power in range(13))
"""From 25 ms to 102.4 s. Histograms have buckets that end there, so that these counts are exact."""


def metric_endpoints(metrics: Metrics) -> list[Endpoint]:
    """What the orchestrator answers about its agents' work."""

    async def read(request: ReadMetrics, context: CallContext) -> AgentMetrics:
        return _metrics(await metrics.of(request.id, request.window, context), request.window)

    async def totals(_request: Nothing, context: CallContext) -> AgentTotals:
        return AgentTotals(agents=[_total(total) for total in await metrics.totals(context)])

    return [READ_METRICS.answered_by(read), READ_TOTALS.answered_by(totals)]


def _metrics(measured: Measured, window: Window) -> AgentMetrics:
    whole, today, steps = measured.whole, measured.today, measured.steps
    return AgentMetrics(
        agent_id=measured.agent_id,
        window=window,
        from_=from_unix_ms(steps.start * 60_000),
        to=from_unix_ms(steps.stop * 60_000),
        request_count=whole.request_count,
        success_count=whole.success_count,
        error_count=whole.error_count,
        refused_count=whole.outcomes["refused"],
        cancelled_count=whole.outcomes["cancelled"],
        timeout_count=whole.outcomes["timeout"],
        success_rate=whole.success_rate,
        latency_ms=_percentiles(whole.latency),
        first_token_ms=_percentiles(whole.first_token),
        tokens_in=whole.prompt_tokens,
        tokens_out=whole.completion_tokens,
        today=Today(
            request_count=today.request_count,
            success_count=today.success_count,
            error_count=today.error_count,
            tokens_in=today.prompt_tokens,
            tokens_out=today.completion_tokens,
        ),
        series=[_step(minute, sums) for minute, sums in zip(steps, measured.series, strict=True)],
    )


def _step(minute: int, sums: Sums) -> Step:
    return Step(
        at=from_unix_ms(minute * 60_000),
        request_count=sums.request_count,
        error_count=sums.error_count,
        tokens_in=sums.prompt_tokens,
        tokens_out=sums.completion_tokens,
        latency_p50_ms=_percentile(sums.latency, 50),
        latency_p95_ms=_percentile(sums.latency, 95),
        first_token_p50_ms=_percentile(sums.first_token, 50),
    )


def _percentiles(histogram: Histogram) -> Percentiles | None:
    p50, p95, p99 = (_percentile(histogram, percent) for percent in (50, 95, 99))
    if p50 is None or p95 is None or p99 is None:
        return None
    return Percentiles(p50=p50, p95=p95, p99=p99)


def _percentile(histogram: Histogram, percent: int) -> float | None:
    value = histogram.percentile(percent)
    return None if value is None else round(value, 3)


def _total(total: Total) -> AgentTotal:
    sums = total.sums
    return AgentTotal(
        id=total.agent.id,
        name=total.agent.name,
        type=total.agent.type,
        status=total.status,
        circuit=total.circuit,
        outcomes=dict(sums.outcomes),
        tokens_in=sums.prompt_tokens,
        tokens_out=sums.completion_tokens,
        latency=LatencyTotals(
            bounds=list(BOUNDS_S),
            counts=sums.latency.up_to(bound * 1000 for bound in BOUNDS_S),
            count=sums.latency.total,
            sum_seconds=round(sums.latency_ms / 1000, 6),
        ),
    )
