"""What Prometheus reads from an edge: over a real socket, by its own parser."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from edge.exposition import Exposition
from edge.health import SERVICES
from edge.http.addresses import ClientAddresses
from edge.http.origins import Origins
from edge.http.pipeline import Pipeline
from edge.http.server import serving
from edge.metrics import Meter
from edge.routes.app import behind_pipeline, fastapi_app, routes_of
from shared.bus import CallContext
from shared.bus.discovery import EndpointStatistics, Replica, Vitals
from shared.contracts.metrics import AgentTotal, AgentTotals, LatencyTotals
from shared.errors import DeadlinePassed
from shared.principal import PrincipalKind
from tests.integration.ports import free_port
from tests.unit.edge.http.test_pipeline import _known
from tests.unit.edge.requests import request

KNOWN = _known(PrincipalKind.KEY, password=False, factor=False)
KEY = {"Authorization": "Bearer peanut_x"}


@dataclass
class FakeBus:
    """Two replicas of auth, one of the others but of those that are `silent`, and the totals of one agent."""

    silent: set[str] = field(default_factory=set)
    asked: int = 0
    waited_s: float = 0.0

    async def replicas(self, service: str, *, within: float) -> list[Replica]:
        await asyncio.sleep(within)
        if service in self.silent:
            return []
        return [_replica(service, number) for number in range(1, 3 if service == "auth" else 2)]

    async def call(self, _contract: object, _request: object, context: CallContext) -> AgentTotals:
        self.asked += 1
        if "orchestrator" in self.silent:
            self.waited_s = context.remaining()
            await asyncio.sleep(self.waited_s)
            raise DeadlinePassed("Nobody has answered.")
        return AgentTotals(agents=[_agent()])


def _replica(service: str, number: int) -> Replica:
    endpoint = EndpointStatistics(
        subject=f"peanut.{service}.health.check", num_requests=7, num_errors=2, processing_time=1_500_000_000
    )
    vitals = Vitals(uptime_seconds=9.0, cpu_seconds=1.25, memory_bytes=5_000_000)
    return Replica(id=f"{service}-{number}", name=service, metadata=vitals, endpoints=[endpoint])


def _agent() -> AgentTotal:
    return AgentTotal(
        id="01",
        name='Zoë "the" llama\\',
        type="ollama",
        status="degraded",
        circuit="closed",
        outcomes={"success": 3, "failed": 1},
        tokens_in=10,
        tokens_out=20,
        latency=LatencyTotals(bounds=[0.1, 0.2], counts=[1, 2], count=3, sum_seconds=1.5),
    )


@asynccontextmanager
async def edge(bus: FakeBus) -> AsyncIterator[httpx.AsyncClient]:
    """An edge that knows one key, and a client of it."""

    class OneIdentity:
        async def of(self, _shown: object) -> Any:
            return KNOWN

    class NoRefusals:
        def note(self, _request: object, _response: object) -> None: ...

    meter = Meter("edge-1")
    anything: Any = bus
    app = fastapi_app(anything, None, Exposition(anything, meter))  # type: ignore[arg-type]  # health is not asked for
    meter.route_of = routes_of(app, ["/api/v1/agents"])
    identities: Any = OneIdentity()
    refusals: Any = NoRefusals()
    pipeline = Pipeline(
        hot={},
        rest=behind_pipeline(app),
        identities=identities,
        origins=Origins(hosts=frozenset({"localhost"}), origins=frozenset()),
        addresses=ClientAddresses(()),
        refusals=refusals,
        meter=meter,
        policy=(),
    )
    port = free_port()
    async with (
        meter.watching(),
        serving(pipeline, host="127.0.0.1", port=port, is_proxy=lambda _peer: False, policy=()),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"Host": "localhost"}) as client,
    ):
        yield client


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """Samples by their name and the values of their labels, in the order of the labels' names."""
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_scrape_tells_of_this_edge_of_all_services_and_of_all_agents() -> None:
    async with edge(FakeBus()) as client:
        for path in ("/openapi.json", "/made/up", "/made/up/too"):
            await client.get(path, headers=KEY)
        await client.request("BREW", "/made/up")
        answer = await client.get("/metrics", headers=KEY)
        found = parsed(answer.text)

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert found["peanut_http_requests_total", "edge-1", "GET", "/openapi.json", "200"] == 1
    assert found["peanut_http_requests_total", "edge-1", "GET", "unknown", "404"] == 2
    assert found["peanut_http_request_duration_seconds_bucket", "edge-1", "+Inf", "GET", "unknown"] == 2
    assert found["peanut_http_request_duration_seconds_count", "edge-1", "GET", "unknown"] == 2
    assert found["peanut_http_request_duration_seconds_sum", "edge-1", "GET", "unknown"] > 0
    assert found["peanut_http_requests_in_flight", "edge-1"] == 1
    assert found["peanut_http_streams_open", "edge-1"] == 0
    assert found["process_resident_memory_bytes", "edge-1"] > 1_000_000
    assert found["process_open_fds", "edge-1"] > 3
    assert ("process_cpu_seconds_total", "edge-1") in found
    assert ("peanut_event_loop_lag_seconds_count", "edge-1") in found
    for service, replicas in {**dict.fromkeys((*SERVICES, "edge"), 1), "auth": 2}.items():
        assert found["peanut_service_up", service] == 1
        for number in range(1, replicas + 1):
            names = (f"{service}-{number}", service)
            assert found["peanut_service_memory_bytes", *names] == 5_000_000
            assert found["peanut_service_cpu_seconds_total", *names] == 1.25
            assert found["peanut_bus_requests_total", *names, f"peanut.{service}.health.check"] == 7
            assert found["peanut_bus_errors_total", *names, f"peanut.{service}.health.check"] == 2
            assert found["peanut_bus_processing_seconds_total", *names, f"peanut.{service}.health.check"] == 1.5
    name = 'Zoë "the" llama\\'
    assert found["peanut_agent_requests_total", "01", name, "success", "ollama"] == 3
    assert found["peanut_agent_requests_total", "01", name, "failed", "ollama"] == 1
    assert (found["peanut_agent_tokens_total", "01", "in"], found["peanut_agent_tokens_total", "01", "out"]) == (10, 20)
    assert (found["peanut_agent_up", "01", name], found["peanut_agent_circuit_open", "01", name]) == (1, 0)
    latency = [found["peanut_agent_latency_seconds_bucket", "01", bound] for bound in ("0.1", "0.2", "+Inf")]
    assert (latency, found["peanut_agent_latency_seconds_sum", "01"]) == ([1, 2, 3], 1.5)


async def test_only_those_who_are_known_may_look() -> None:
    async with edge(FakeBus()) as client:
        anonymous = await client.get("/metrics")
        with_slash = await client.get("/metrics/")
        posted = await client.post("/metrics")

    assert (anonymous.status_code, anonymous.json()["type"]) == (401, "/problems/unauthenticated")
    assert (with_slash.status_code, posted.status_code) == (404, 405)


async def test_a_service_that_does_not_answer_is_down_and_holds_nobody_up() -> None:
    bus = FakeBus(silent={"orchestrator", "audit"})
    async with edge(bus) as client:
        found = parsed((await client.get("/metrics", headers=KEY)).text)

    assert [found["peanut_service_up", name] for name in ("auth", "orchestrator", "audit", "edge")] == [1, 0, 0, 1]
    assert "peanut_agent_up" not in {name for name, *_ in found}
    assert bus.waited_s < 0.9


async def test_without_the_bus_this_edge_tells_of_itself() -> None:
    async with edge(FakeBus(silent={"auth", "orchestrator", "audit", "edge"})) as client:
        found = parsed((await client.get("/metrics", headers=KEY)).text)

    assert found["peanut_service_up", "auth"] == 0
    assert found["peanut_http_requests_in_flight", "edge-1"] == 1


async def test_those_who_ask_at_once_share_one_answer() -> None:
    bus = FakeBus()
    async with edge(bus) as client:
        answers = await asyncio.gather(*(client.get("/metrics", headers=KEY) for _ in range(8)))

    assert {answer.status_code for answer in answers} == {200}
    assert bus.asked == 1


def test_routes_are_told_by_their_templates() -> None:
    app = fastapi_app(None, None, None)  # type: ignore[arg-type]  # it is asked for its paths only
    route_of = routes_of(app, ["/api/v1/agents", "/v1/models/{model}"])

    found = [
        route_of(path)
        for path in (
            "/api/v1/agents",
            "/api/v1/agents/0190",
            "/api/v1/agents/0190/metrics",
            "/v1/models/gpt",
            "/metrics",
            "/docs",
            "/api/v1/agents/",
            "/api/v1/nothing",
        )
    ]

    assert found == [
        "/api/v1/agents",
        "/api/v1/agents/{agent_id}",
        "/api/v1/agents/{agent_id}/metrics",
        "/v1/models/{model}",
        "/metrics",
        "/docs",
        "unknown",
        "unknown",
    ]


def _series(meter: Meter) -> Sequence[Sample]:
    return [sample for family in meter.families() for sample in family.samples]


def test_what_strangers_make_up_adds_no_series() -> None:
    meter = Meter("edge-1")
    for method in ("TRACE", "BREW"):
        meter.note(request(method, "/"), 404, 0.1)
    before = len(_series(meter))

    for number in range(100):
        meter.note(request(f"M{number}", f"/{number}"), 404, 0.1)

    assert len(_series(meter)) == before


def test_a_stream_is_open_until_it_ends() -> None:
    meter = Meter("edge-1")
    with meter.streaming(), meter.streaming():
        during = _open(meter)

    assert (during, _open(meter)) == (2, 0)


def _open(meter: Meter) -> float:
    return next(sample.value for sample in _series(meter) if sample.name == "peanut_http_streams_open")


async def test_a_parameter_that_nobody_knows_is_refused() -> None:
    async with edge(FakeBus()) as client:
        answer = await client.get("/api/v1/agents/x/metrics?windo=24h", headers=KEY)

    assert (answer.status_code, [error["path"] for error in answer.json()["errors"]]) == (422, ["windo"])
