"""What is behind the hot routes: the rest, and what is said where nothing is."""

from typing import Any, cast

import httpx
import pytest

from edge.health import HealthCheck
from edge.listeners import Listeners
from edge.live_events import LiveEvents
from edge.routes.app import behind_pipeline, fastapi_app
from edge.routes.hot import hot_routes
from shared.bus import Bus
from tests.unit.edge.bus import FakeBus
from tests.unit.edge.http.serving import Door, edge


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
    bus, door = cast(Bus, FakeBus()), Door()
    identities: Any = door
    nothing: Any = None  # no metrics are asked for
    rest = behind_pipeline(fastapi_app(bus, HealthCheck(bus), nothing))
    headers = {"Host": "localhost", "Authorization": "Bearer key-01"}

    async with (
        edge(rest, hot=hot_routes(bus, LiveEvents(bus, Listeners(identities))), door=door) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as client,
    ):
        answer = await client.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert ("error" if path.startswith("/v1/") else "type") in answer.json()
