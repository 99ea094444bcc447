"""What no other test looks at: types of answers, and which refusals are recorded."""

import asyncio
from typing import Any

import httpx
import pytest

from edge.http.response import Response
from edge.refusals import Refusals
from edge.routes.app import fastapi_app
from shared.audit import Change
from shared.bus import CallContext
from shared.contracts.audit import Outcome
from shared.principal import Caller, Origin
from tests.unit.edge.requests import request


@pytest.mark.asvs("4.1.1")
def test_an_answer_with_a_body_says_what_it_is() -> None:
    with_body = dict(Response(200, b"{}").all_headers())
    without = dict(Response(204).all_headers())

    assert with_body[b"content-type"] == b"application/json"  # always UTF-8; has no charset (RFC 8259, section 11)
    assert b"content-type" not in without


@pytest.mark.asvs("4.1.1")
@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
        ("/docs/start.js", "text/javascript; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ],
)
async def test_each_document_has_its_own_type(path: str, media_type: str) -> None:
    app = fastapi_app(None, None, None)  # type: ignore[arg-type]  # nothing is asked of others for a document
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answer = await client.get(path)

    assert answer.headers["content-type"] == media_type


class Trail:
    def __init__(self) -> None:
        self.recorded: list[tuple[str, Any, Outcome]] = []

    async def conclude(self, change: Change, _context: CallContext, outcome: Outcome) -> None:
        self.recorded.append((change.action, change.details["reason"], outcome))


@pytest.mark.asvs("16.3.3")
@pytest.mark.parametrize(
    ("method", "status", "reason", "is_recorded"),
    [
        ("GET", 401, "invalid-session", True),
        ("POST", 403, "foreign-origin", True),
        ("POST", 429, "rate-limited", True),
        ("POST", 422, "endpoint-not-allowed", True),
        ("GET", 422, "invalid-fields", False),
        ("GET", 404, "not-found", False),
    ],
)
async def test_attempts_to_get_around_a_control_are_recorded(
    method: str, status: int, reason: str, is_recorded: bool
) -> None:
    trail = Trail()
    refusals = Refusals(trail, route_of=lambda path: path)  # type: ignore[arg-type]  # as much of a trail as it uses
    asked = request(method)
    asked.caller = Caller(origin=Origin(ip_address="192.0.2.7"))

    refusals.note(asked, Response(status, reason=reason))
    await asyncio.sleep(0)

    assert trail.recorded == ([("request.refused", reason, Outcome.DENIED)] if is_recorded else [])
