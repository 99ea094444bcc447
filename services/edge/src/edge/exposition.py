"""What Prometheus reads: this edge's metrics, those of every replica on the bus, and those of all agents."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import Metric, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from edge.health import SERVICES
from edge.joined import Joined
from edge.metrics import Meter, histogram_buckets
from shared.bus import NOTHING, Bus, CallContext
from shared.bus.discovery import Replica
from shared.contracts.metrics import READ_TOTALS, AgentTotal
from shared.errors import PlatformError

GATHER_WITHIN_S = 0.5
"""Long enough for a busy machine: a replica that is not heard in this time is told to be down."""
TOTALS_WITHIN_S = 0.85
"""Prometheus has its answer within a second; a read is given to another replica when one is silent for 0.75 s."""

Replicas = Mapping[str, Sequence[Replica]]


class Exposition:
    """Gathers and writes all metrics. Those who come while that is under way share the result."""

    def __init__(self, bus: Bus, meter: Meter) -> None:
        self._bus = bus
        self._meter = meter
        self._texts = Joined(self._gathered)

    async def text(self, context: CallContext) -> bytes:
        """All metrics in Prometheus' text format; what does not answer within a second is left out."""
        return await self._texts.result(context)

    async def _gathered(self, context: CallContext) -> bytes:
        replicas, agents = await asyncio.gather(self._replicas(), self._agents(context))
        return await asyncio.to_thread(_written, self._meter.families(), replicas, agents)  # long with many agents

    async def _replicas(self) -> Replicas:
        names = (*SERVICES, "edge")
        found = await asyncio.gather(*(self._bus.replicas(name, within=GATHER_WITHIN_S) for name in names))
        return dict(zip(names, found, strict=True))

    async def _agents(self, context: CallContext) -> Sequence[AgentTotal]:
        try:
            return (await self._bus.call(READ_TOTALS, NOTHING, context.until(TOTALS_WITHIN_S))).agents
        except PlatformError:
            return ()  # `peanut_service_up` says it


def _written(own: Iterable[Metric], replicas: Replicas, agents: Sequence[AgentTotal]) -> bytes:
    return generate_latest(_Families([*own, *_of_services(replicas), *_of_agents(agents)]))


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_services(replicas: Replicas) -> Iterator[Metric]:
    up = GaugeMetricFamily("peanut_service_up", "Whether any replica of the service answers.", labels=("service",))
    own = ("service", "instance")
    memory = GaugeMetricFamily("peanut_service_memory_bytes", "Resident memory of a replica.", labels=own)
    cpu = CounterMetricFamily("peanut_service_cpu_seconds", "CPU time of a replica.", labels=own)
    by_subject = (*own, "subject")
    requests = CounterMetricFamily("peanut_bus_requests", "Calls that a replica has answered.", labels=by_subject)
    errors = CounterMetricFamily("peanut_bus_errors", "Calls answered with a failure.", labels=by_subject)
    seconds = CounterMetricFamily("peanut_bus_processing_seconds", "Time that calls took.", labels=by_subject)
    for service, found in replicas.items():
        up.add_metric((service,), 1 if found else 0)
        for replica in found:
            names = (service, replica.id)
            memory.add_metric(names, replica.metadata.memory_bytes)
            cpu.add_metric(names, replica.metadata.cpu_seconds)
            for endpoint in replica.endpoints:
                requests.add_metric((*names, endpoint.subject), endpoint.num_requests)
                errors.add_metric((*names, endpoint.subject), endpoint.num_errors)
                seconds.add_metric((*names, endpoint.subject), endpoint.processing_time / 1e9)
    yield from (up, memory, cpu, requests, errors, seconds)


def _of_agents(agents: Sequence[AgentTotal]) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "peanut_agent_requests", "Attempts of agents, by how they ended.", labels=("agent", "name", "type", "outcome")
    )
    tokens = CounterMetricFamily("peanut_agent_tokens", "Tokens of agents.", labels=("agent", "direction"))
    up = GaugeMetricFamily("peanut_agent_up", "Whether an agent is online or degraded.", labels=("agent", "name"))
    open_ = GaugeMetricFamily("peanut_agent_circuit_open", "Whether its circuit is open.", labels=("agent", "name"))
    latency = HistogramMetricFamily(
        "peanut_agent_latency_seconds", "How long attempts took that succeeded.", labels=("agent",)
    )
    for agent in agents:
        for outcome, count in agent.outcomes.items():
            requests.add_metric((agent.id, agent.name, agent.type, outcome), count)
        tokens.add_metric((agent.id, "in"), agent.tokens_in)
        tokens.add_metric((agent.id, "out"), agent.tokens_out)
        up.add_metric((agent.id, agent.name), 1 if agent.status in ("online", "degraded") else 0)
        open_.add_metric((agent.id, agent.name), 1 if agent.circuit == "open" else 0)
        counts = [*agent.latency.counts, agent.latency.count]
        latency.add_metric((agent.id,), histogram_buckets(agent.latency.bounds, counts), agent.latency.sum_seconds)
    yield from (requests, tokens, up, open_, latency)
