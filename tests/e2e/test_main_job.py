"""The tour of the README, and what an admin does in a browser."""

import re

import httpx
import pytest

from tests.e2e.platform import Platform

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_a_dispatch_is_answered_and_stands_in_the_audit_log(operator: httpx.AsyncClient) -> None:
    dispatched = (await operator.post("/api/v1/openclaw/dispatch", json={"message": "Hello"})).json()

    page = (await operator.get("/api/v1/audit", params={"requestId": dispatched["requestId"]})).json()

    assert dispatched["message"].endswith("Hello")
    assert dispatched["sessionId"] is None
    assert [attempt["agentId"] for attempt in dispatched["attempts"]] == [dispatched["agentId"]]
    assert page["integrityValid"] is True
    [entry] = page["entries"]
    assert (entry["action"], entry["phase"], entry["outcome"]) == ("agent.request", "outcome", "success")
    assert entry["resourceId"] == dispatched["agentId"]
    assert entry["source"] == "orchestrator"
    assert RFC3339.fullmatch(entry["timestamp"])
    assert "Hello" not in str(entry["details"])


async def test_every_change_of_an_agent_has_its_intent_and_its_outcome(
    operator: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    created = await operator.post("/api/v1/agents", json={"name": "third echo", "type": "echo", "model": "echo"})
    agent = created.json()
    url = created.headers["location"]
    changed = await operator.put(url, json={"weight": 7}, headers={"If-Match": created.headers["etag"]})
    stale = await operator.put(url, json={"weight": 8}, headers={"If-Match": created.headers["etag"]})
    removed = await admin.delete(url)
    gone = await operator.get(url)

    page = (await operator.get("/api/v1/audit", params={"resourceId": agent["id"]})).json()

    assert (created.status_code, changed.status_code, stale.status_code) == (201, 200, 412)
    assert (removed.status_code, gone.status_code) == (204, 404)
    assert gone.json()["type"] == "/problems/agent-not-found"
    recorded = [(entry["action"], entry["phase"], entry["outcome"]) for entry in reversed(page["entries"])]
    for action in ("agent.created", "agent.updated", "agent.deleted"):
        assert recorded.count((action, "intent", None)) >= 1
        assert recorded.count((action, "outcome", "success")) == 1


@pytest.mark.asvs("7.4.1")
async def test_a_session_lives_until_it_is_logged_out(platform: Platform) -> None:
    async with platform.signed_in() as client:
        me = await client.get("/api/v1/auth/me")
        out = await client.post("/api/v1/auth/logout")
        afterwards = await client.get("/api/v1/auth/me")

    assert me.json()["email"] == "admin@peanut.local"
    assert me.json()["role"] == "admin"
    assert out.status_code == 204
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert (afterwards.status_code, afterwards.json()["type"]) == (401, "/problems/invalid-session")


@pytest.mark.asvs("3.3.1", "3.3.2", "3.3.3", "3.3.4")
async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(anonymous: httpx.AsyncClient) -> None:
    answer = await anonymous.post(
        "/api/v1/auth/login",
        json={"email": " Admin@Peanut.LOCAL ", "password": "orange bicycle under the bridge"},
    )

    cookie = answer.headers["set-cookie"]
    assert answer.json()["requireTotp"] is False
    assert cookie.startswith("__Host-session=")
    for attribute in ("HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age=28"):
        assert attribute in cookie
    assert "Domain" not in cookie
    assert "token" not in answer.json()


async def test_a_key_is_shown_once_works_at_once_and_dies_at_once(admin: httpx.AsyncClient, platform: Platform) -> None:
    made = (await admin.post("/api/v1/keys", json={"name": "ci", "role": "viewer"})).json()
    async with platform.client(made["key"]) as client:
        works = await client.get("/api/v1/auth/me")
        forbidden = await client.post("/api/v1/agents", json={"name": "x2", "type": "echo", "model": "echo"})
        listed = (await admin.get("/api/v1/keys")).json()["items"]
        revoked = await admin.delete(f"/api/v1/keys/{made['id']}")
        dead = await client.get("/api/v1/auth/me")

    assert (works.status_code, works.json()["role"]) == (200, "viewer")
    assert (forbidden.status_code, forbidden.json()["type"]) == (403, "/problems/forbidden")
    assert made["key"] not in str(listed)
    assert made["id"] in [key["id"] for key in listed]
    assert (revoked.status_code, dead.status_code) == (204, 401)
    assert dead.json()["type"] == "/problems/invalid-api-key"


async def test_unknown_user_and_wrong_password_look_the_same(anonymous: httpx.AsyncClient) -> None:
    answers = [
        await anonymous.post("/api/v1/auth/login", json={"email": email, "password": "wrong"})
        for email in ("admin@peanut.local", "nobody@peanut.local")
    ]

    bodies = [{**answer.json(), "requestId": ""} for answer in answers]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert bodies[0] == bodies[1]
    assert bodies[0]["type"] == "/problems/invalid-credentials"


@pytest.mark.asvs("8.2.3")
async def test_health_names_every_service_to_those_who_are_signed_in_alone(
    operator: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    seen = (await operator.get("/health")).json()
    hidden = (await anonymous.get("/health")).json()

    assert hidden == {"status": "healthy"}
    assert set(seen["services"]) == {"auth", "orchestrator", "audit", "witness", "edge"}
    assert all(service["replicas"] == 1 for service in seen["services"].values())
    assert (await anonymous.get("/ready")).status_code == 200
