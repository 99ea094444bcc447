"""Metrics of agents over the bus: merged over replicas, kept across restarts, and quick with many agents."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.application.metrics import Metrics
from orchestrator.application.monitor import Monitor
from orchestrator.application.pool import Pool
from orchestrator.application.recording import Recorder
from orchestrator.application.registry import Registry
from orchestrator.domain.metrics import OUTCOMES, Attempted, Sums
from orchestrator.infrastructure.sql_agents import SqlAgents
from orchestrator.infrastructure.sql_metrics import SqlMetrics
from orchestrator.interface.metrics import metric_endpoints
from shared.bus import NOTHING, Bus
from shared.clock import utc_now
from shared.contracts.metrics import READ_METRICS, READ_TOTALS, AgentMetrics, AgentTotal, ReadMetrics, Window
from shared.database import Database, open_database
from shared.errors import ErrorCode, PlatformError
from shared.principal import Role
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator.cluster import by
from tests.integration.orchestrator.ticking import longest_hold_up
from tests.unit.orchestrator.agents import FakeUpstream, agent
from tests.waiting import eventually

DONE = Attempted("success", 100.0, 10.0, 5, 7)


class Unchanging:
    """A registry that nobody changes."""

    number = 1

    async def be_current(self) -> None: ...


@pytest.fixture
async def database(data_dir: Path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite+aiosqlite:///{data_dir / 'orchestrator.db'}") as database:
        await SqlAgents(database).add(agent("x", type="echo", endpoint=None))
        yield database


@pytest.fixture
async def edge(nats: Nats) -> AsyncIterator[Bus]:
    async with bus_as(nats, "edge") as bus:
        yield bus


@asynccontextmanager
async def replica(nats: Nats, database: Database, name: str) -> AsyncIterator[Recorder]:
    """As much of an orchestrator as counts attempts and tells of them."""
    store = SqlMetrics(database, replica=name)
    recorder = Recorder(store)
    monitor = Monitor({"echo": FakeUpstream()}, now=utc_now)
    pool = Pool(Registry(SqlAgents(database), Unchanging()), monitor)
    async with (
        monitor.watching(),
        recorder.saving(),
        bus_as(nats, "orchestrator", instance=f"orchestrator-{name}") as bus,
    ):
        await bus.serve(*metric_endpoints(Metrics(store, pool, monitor, now=utc_now)))
        yield recorder


async def metrics(edge: Bus, window: Window = "1h", id: str = "x") -> AgentMetrics:
    return await edge.call(READ_METRICS, ReadMetrics(id=id, window=window), by(Role.VIEWER))


async def totals(edge: Bus) -> Sequence[AgentTotal]:
    return (await edge.call(READ_TOTALS, NOTHING, by(Role.VIEWER))).agents


async def test_what_replicas_have_counted_is_told_as_one_and_survives_them(
    nats: Nats, database: Database, edge: Bus
) -> None:
    async with replica(nats, database, "1") as one, replica(nats, database, "2") as two:
        for recorder in (one, two):
            for outcome in OUTCOMES:
                recorder.note("x", DONE._replace(outcome=outcome))
        one.note("x", DONE)
    async with replica(nats, database, "3") as three:
        three.note("x", DONE)
    async with replica(nats, database, "4"):
        told = await metrics(edge)
        [total] = [total for total in await totals(edge) if total.id == "x"]

    assert (told.request_count, told.success_count, told.error_count, told.timeout_count) == (12, 4, 4, 2)
    assert (told.refused_count, told.cancelled_count, told.success_rate) == (2, 2, 0.5)
    assert (told.tokens_in, told.tokens_out) == (12 * 5, 12 * 7)
    assert told.latency_ms is not None
    assert told.first_token_ms is not None
    for percentile in (told.latency_ms.p50, told.latency_ms.p95, told.latency_ms.p99):
        assert percentile == pytest.approx(100, rel=0.05)
    assert told.first_token_ms.p50 == pytest.approx(10, rel=0.05)
    assert told.today.request_count == sum(step.request_count for step in told.series) == 12
    assert total.outcomes == {"success": 4, "failed": 2, "timeout": 2, "refused": 2, "cancelled": 2}
    assert (total.tokens_in, total.tokens_out, total.status) == (60, 84, "online")
    assert (total.latency.counts[1], total.latency.counts[2], total.latency.count) == (0, 4, 4)
    assert total.latency.sum_seconds == pytest.approx(0.4)


async def test_another_replica_tells_of_an_attempt_soon(nats: Nats, database: Database, edge: Bus) -> None:
    async with replica(nats, database, "1") as one:
        one.note("x", DONE)
        reader = SqlMetrics(database, replica="reader")

        async def is_counted() -> bool:
            return "x" in await reader.since_ever()

        await eventually(is_counted)


@pytest.mark.parametrize(("window", "shape"), [("15m", (15, 1)), ("24h", (96, 15)), ("30d", (120, 360))])
async def test_a_series_has_equal_steps_over_the_whole_window(
    nats: Nats, database: Database, edge: Bus, window: Window, shape: tuple[int, int]
) -> None:
    steps, minutes = shape
    async with replica(nats, database, "1"):
        told = await metrics(edge, window)

    moments = [step.at for step in told.series]
    assert moments == [told.from_ + timedelta(minutes=minutes) * number for number in range(steps)]
    assert told.to == moments[-1] + timedelta(minutes=minutes)
    assert moments[-1] <= utc_now() < told.to + timedelta(minutes=minutes)
    assert (told.latency_ms, told.success_rate, told.series[0].latency_p50_ms) == (None, None, None)


async def test_an_unknown_agent_is_not_found(nats: Nats, database: Database, edge: Bus) -> None:
    async with replica(nats, database, "1"):
        with pytest.raises(PlatformError) as unknown:
            await metrics(edge, id="nobody")

    assert (unknown.value.code, unknown.value.reason) == (ErrorCode.NOT_FOUND, "agent-not-found")


async def test_reading_a_window_holds_nobody_up_also_when_a_thousand_agents_have_worked_all_day(
    nats: Nats, database: Database, edge: Bus
) -> None:
    now = int(time.time()) // 60
    busy = Sums()
    for latency_ms in range(10, 200):
        busy.add(DONE._replace(latency_ms=latency_ms))
    every_minute = {("x", now - minute): busy for minute in range(24 * 60)}
    others = {(f"agent-{number}", now - minute): busy for number in range(1000) for minute in range(0, 60, 10)}
    async with replica(nats, database, "1"):
        await SqlMetrics(database, replica="a").save({**every_minute, **others}, {})
        await metrics(edge)
        async with longest_hold_up() as longest:
            told = await metrics(edge, "24h")

    assert told.request_count >= (24 * 60 - 14) * 190  # at the beginning of a step of 15 minutes
    assert longest.s < 0.3  # of the processor
