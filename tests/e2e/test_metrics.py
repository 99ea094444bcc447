"""What is counted: of an agent for people, of everything for Prometheus."""

import asyncio
import signal
import time
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.platform import Platform

WITHIN_S = 5.0
"""Attempts are written each second."""


async def echo(client: httpx.AsyncClient, name: str) -> dict[str, Any]:
    wish = {"name": name, "type": "echo", "model": "echo"}
    answer = await client.post("/api/v1/agents", json=wish)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def counted(client: httpx.AsyncClient, agent: dict[str, Any], requests: int, **window: str) -> dict[str, Any]:
    """The agent's metrics once they tell of so many requests."""
    until = time.monotonic() + WITHIN_S
    while True:
        answer = await client.get(f"/api/v1/agents/{agent['id']}/metrics", params=window)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        if told["requestCount"] >= requests or time.monotonic() > until:
            return told
        await asyncio.sleep(0.1)


async def scraped(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """Samples by their name and the values of their labels, in the order of the labels' names."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_dispatches_are_counted_for_people_and_for_prometheus(
    operator: httpx.AsyncClient, platform: Platform
) -> None:
    agent = await echo(operator, "counted")
    wish = {"message": "Hello", "agentId": agent["id"]}
    for _ in range(3):
        assert (await operator.post("/api/v1/openclaw/dispatch", json=wish)).status_code == 200

    async with platform.client(platform.key("viewer")) as viewer:
        told = await counted(viewer, agent, 3)
        in_a_month = await counted(viewer, agent, 3, window="30d")
        found = await scraped(viewer)

    assert (told["agentId"], told["window"], told["successRate"]) == (agent["id"], "1h", 1.0)
    assert (told["requestCount"], told["successCount"], told["errorCount"]) == (3, 3, 0)
    assert 0 < told["latencyMs"]["p50"] <= told["latencyMs"]["p99"]
    assert told["today"]["requestCount"] == in_a_month["requestCount"] == 3
    assert len(told["series"]) == 60
    assert sum(step["requestCount"] for step in told["series"]) == 3
    assert found["peanut_agent_requests_total", agent["id"], "counted", "success", "echo"] == 3
    assert found["peanut_agent_latency_seconds_count", agent["id"]] == 3
    assert found["peanut_agent_up", agent["id"], "counted"] == 1
    assert found["peanut_http_requests_total", "edge-1", "POST", "/api/v1/openclaw/dispatch", "200"] >= 3
    assert found["peanut_bus_requests_total", "orchestrator-1", "orchestrator", "peanut.orchestrator.dispatch.run"] >= 3


async def test_an_unknown_agent_and_an_odd_window_are_refused(operator: httpx.AsyncClient) -> None:
    agent = await echo(operator, "seldom asked")
    unknown = await operator.get("/api/v1/agents/nobody/metrics")
    odd = await operator.get(f"/api/v1/agents/{agent['id']}/metrics", params={"window": "2h"})

    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/agent-not-found")
    assert (odd.status_code, odd.json()["errors"][0]["path"]) == (422, "window")


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/agents/0190/metrics"])
async def test_nobody_unknown_sees_any_metrics(anonymous: httpx.AsyncClient, path: str) -> None:
    answer = await anonymous.get(path)

    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthenticated")


async def test_somebody_signed_in_may_look_at_all_metrics(admin: httpx.AsyncClient) -> None:
    found = await scraped(admin)

    assert {found["peanut_service_up", name] for name in ("auth", "orchestrator", "audit", "witness", "edge")} == {1}
    assert found["peanut_service_memory_bytes", "auth-1", "auth"] > 1_000_000


async def test_a_paused_service_is_down_within_a_second(operator: httpx.AsyncClient, platform: Platform) -> None:
    await scraped(operator)
    platform.send("orchestrator-1", signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = await scraped(operator)
        took = time.monotonic() - began
    finally:
        platform.send("orchestrator-1", signal.SIGCONT)

    assert (found["peanut_service_up", "orchestrator"], found["peanut_service_up", "auth"]) == (0, 1)
    assert took < 2  # a second, on a machine with nothing else to do
