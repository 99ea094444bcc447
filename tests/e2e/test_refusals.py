"""Refusals stand in the audit log, but strangers cannot fill it."""

import asyncio

import httpx
import pytest

from tests.e2e.platform import Platform


async def _refusals(operator: httpx.AsyncClient, route: str) -> list[dict[str, object]]:
    for _ in range(30):
        page = (await operator.get("/api/v1/audit", params={"action": "request.refused", "resourceId": route})).json()
        if page["entries"]:
            return list(page["entries"])
        await asyncio.sleep(0.1)
    return []


@pytest.mark.asvs("16.3.2")
async def test_many_refusals_of_one_kind_are_one_entry(platform: Platform, operator: httpx.AsyncClient) -> None:
    async with platform.client(platform.key("viewer")) as viewer:
        viewer.headers["X-Request-Id"] = "many-refusals"  # others are refused here, too
        answers = [
            await viewer.put("/api/v1/agents/01a20301-c3b6-7741-9fe3-de986976aea3", json={"weight": 1})
            for _ in range(20)
        ]

    entries = await _refusals(operator, "/api/v1/agents/{agent_id}")

    assert {answer.status_code for answer in answers} == {403}
    forbidden = [entry for entry in entries if entry["requestId"] == "many-refusals"]
    assert len(forbidden) == 1
    assert forbidden[0]["outcome"] == "denied"
    assert forbidden[0]["userEmail"] == "admin@peanut.local"


@pytest.mark.asvs("16.3.1")
async def test_a_log_in_that_failed_is_recorded_by_auth_and_not_again_as_a_refusal(
    anonymous: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    failed = await anonymous.post("/api/v1/auth/login", json={"email": "eve@peanut.local", "password": "guess"})

    page = (await operator.get("/api/v1/audit", params={"requestId": failed.json()["requestId"]})).json()

    recorded = [(entry["action"], entry["phase"], entry["outcome"]) for entry in reversed(page["entries"])]
    assert recorded == [("auth.login", "intent", None), ("auth.login_failed", "outcome", "denied")]
    assert {entry["userEmail"] for entry in page["entries"]} == {"eve@peanut.local"}
