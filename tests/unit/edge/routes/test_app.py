"""What is behind the hot routes: the rest, and what is said where nothing is."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from edge.health import HealthCheck
from edge.listeners import Listeners
from edge.live_events import LiveEvents
from edge.routes.app import behind_pipeline, fastapi_app
from edge.routes.hot import hot_routes
from shared.bus import Bus
from tests.unit.edge.bus import FakeBus
from tests.unit.edge.http.serving import Door, edge


@asynccontextmanager
async def client_of(bus: FakeBus) -> AsyncIterator[tuple[httpx.AsyncClient, FastAPI]]:
    """A client with a key, and the application behind the pipeline."""
    real, door = cast(Bus, bus), Door()
    identities: Any = door
    nothing: Any = None  # no metrics are asked for
    app = fastapi_app(real, HealthCheck(real), nothing)
    headers = {"Host": "localhost", "Authorization": "Bearer key-01"}
    async with (
        edge(behind_pipeline(app), hot=hot_routes(real, LiveEvents(real, Listeners(identities))), door=door) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client,
    ):
        yield client, app


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/api/v1/openclaw/dispatch", "POST"),
        ("DELETE", "/api/v1/events", "GET"),
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models/m", "GET"),
        ("PUT", "/api/v1/agents", "GET, POST"),
    ],
)
async def test_another_method_of_a_hot_route_is_405_in_the_form_of_its_path(
    method: str, path: str, allowed: str
) -> None:
    async with client_of(FakeBus()) as (client, _):
        answer = await client.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert ("error" if path.startswith("/v1/") else "type") in answer.json()


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """Every route there is, hot or not, documented or not, by method and path."""
    nothing: Any = None
    cold = [
        (method, route.path) for route in app.state.routes for method in sorted(route.methods or ()) if method != "HEAD"
    ]
    return [*hot_routes(nothing, nothing), *cold]


async def test_a_parameter_that_no_route_knows_is_refused_by_every_route_and_nobody_is_asked() -> None:
    bus = FakeBus()
    async with client_of(bus) as (client, app):
        routes = routes_of(app)
        answers = {}
        for method, path in routes:
            url = re.sub(r"\{[^}]*\}", "x", path) + "?made_up=1"
            answers[method, path] = await client.request(method, url, json=None if method == "GET" else {})

    assert {("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/api/v1/agents/{agent_id}/metrics")} < set(routes)
    for (_, path), answer in answers.items():
        told = answer.json()
        if path.startswith("/v1/"):  # where OpenAI's clients know what is invalid as a bad request
            assert (answer.status_code, told["error"]["type"]) == (400, "invalid_request_error"), path
        else:
            assert (answer.status_code, told["type"]) == (422, "/problems/invalid-fields"), path
    assert bus.asked == []


async def test_a_parameter_that_is_known_is_heard_beside_none_other() -> None:
    bus = FakeBus()
    async with client_of(bus) as (client, _):
        other = await client.get("/api/v1/agents/x/metrics", params={"window": "1h", "windows": "1h"})
        nowhere = await client.get("/api/v1/nothing", params={"x": "1"})

    assert (other.status_code, [each["path"] for each in other.json()["errors"]]) == (422, ["windows"])
    assert nowhere.status_code == 404
