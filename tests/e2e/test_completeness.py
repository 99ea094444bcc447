"""Nothing is changed without a trace: every route and call on the bus that changes something leaves its entries."""

import asyncio
import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from auth.domain import totp
from edge.routes.app import fastapi_app
from shared import contracts
from shared.bus import Contract, Kind
from shared.clock import utc_now
from shared.contracts import (
    audit,
    audit_export,
    audit_tree,
    auth,
    conversations,
    openai,
    orchestrator,
    second_factor,
    sessions,
    users,
    witness,
)
from shared.ids import new_id
from tests.e2e.platform import Platform

OWN = "a password only its owner knows"
RECORDED_WITHIN_S = 20.0
"""Entries of defences go by the outbox, on a machine that may be busy."""

BOTH = {"intent", "outcome"}
OUTCOME = {"outcome"}
"""A dispatch is recorded when it has ended, unless it is streamed; a defence goes ahead and is recorded afterwards; an
erasure and its entry are one transaction.
"""

ROUTES: dict[str, tuple[tuple[Contract[Any, Any], ...], set[str]]] = {
    "POST /api/v1/auth/login": ((auth.LOG_IN,), BOTH),
    "POST /api/v1/auth/logout": ((auth.LOG_OUT,), OUTCOME),
    "POST /api/v1/auth/password": ((auth.CHANGE_PASSWORD,), BOTH),
    "POST /api/v1/keys": ((auth.CREATE_KEY,), BOTH),
    "DELETE /api/v1/keys/{key_id}": ((auth.REVOKE_KEY,), OUTCOME),
    "POST /api/v1/auth/totp/verify": ((second_factor.VERIFY_TOTP,), BOTH),
    "POST /api/v1/auth/totp/setup": ((second_factor.SET_UP_TOTP,), BOTH),
    "POST /api/v1/auth/totp/confirm": ((second_factor.CONFIRM_TOTP,), BOTH),
    "DELETE /api/v1/auth/totp": ((second_factor.DISABLE_TOTP,), BOTH),
    "POST /api/v1/auth/totp/backup-codes": ((second_factor.RENEW_BACKUP_CODES,), BOTH),
    "DELETE /api/v1/auth/sessions": ((sessions.REVOKE_OTHER_SESSIONS,), OUTCOME),
    "DELETE /api/v1/auth/sessions/{session_id}": ((sessions.REVOKE_SESSION,), OUTCOME),
    "POST /api/v1/users": ((users.CREATE_USER,), BOTH),
    "PUT /api/v1/users/{user_id}": ((users.UPDATE_USER,), BOTH),
    "DELETE /api/v1/users/{user_id}": ((users.DELETE_USER,), OUTCOME),
    "DELETE /api/v1/users/{user_id}/sessions": ((users.END_SESSIONS,), OUTCOME),
    "DELETE /api/v1/users/{user_id}/totp": ((users.RESET_TOTP,), BOTH),
    "POST /api/v1/audit/erasures": ((audit.ERASE,), OUTCOME),
    "POST /api/v1/agents": ((orchestrator.REGISTER_AGENT,), BOTH),
    "PUT /api/v1/agents/{agent_id}": ((orchestrator.UPDATE_AGENT,), BOTH),
    "DELETE /api/v1/agents/{agent_id}": ((orchestrator.REMOVE_AGENT,), BOTH),
    "POST /api/v1/agents/{agent_id}/maintenance": ((orchestrator.MAINTAIN_AGENT,), BOTH),
    "DELETE /api/v1/openclaw/sessions/{session_id}": ((conversations.DELETE_CONVERSATION,), BOTH),
    "POST /api/v1/openclaw/dispatch": ((orchestrator.DISPATCH,), OUTCOME),
    "POST /api/v1/openclaw/dispatch, streamed": ((orchestrator.STREAM_DISPATCH,), BOTH),
    "POST /v1/chat/completions": ((openai.COMPLETE_CHAT,), OUTCOME),
    "POST /v1/chat/completions, streamed": ((openai.STREAM_CHAT,), BOTH),
    "POST /v1/embeddings": ((openai.CREATE_EMBEDDINGS,), OUTCOME),
}
"""What changes something over HTTP, by which calls, and what it leaves."""

COMMANDS: dict[str, tuple[Contract[Any, Any], str]] = {
    "key": (auth.ISSUE_KEY, "key.created"),
    "admin-password": (users.RESET_ADMIN_PASSWORD, "user.updated"),
    "agent-key": (orchestrator.ISSUE_AGENT_KEY, "agent.key_created"),
    "audit-key": (audit_tree.CHANGE_KEY, "audit.key_changed"),
}
"""The same by commands on the machine: the call, and the action of its outcome."""

WITHOUT: dict[Contract[Any, Any], str] = {
    sessions.SEEN: "when somebody was last seen, told by the edge of requests that leave their own entries",
    orchestrator.CHECK_AGENT: "a health check asked for now: it changes what is known of an agent, not the agent",
    audit_export.EXPORT: "a reading, which is recorded all the same: see test_audit_export.py",
    witness.ADD_CHECKPOINT: "what the witness remembers of the log",
}
"""What changes nothing that anybody has to answer for, and why."""


def _all_contracts() -> set[Contract[Any, Any]]:
    modules = [
        importlib.import_module(f"{contracts.__name__}.{found.name}")
        for found in pkgutil.iter_modules(contracts.__path__)
    ]
    return {value for module in modules for value in vars(module).values() if isinstance(value, Contract)}


def test_every_route_that_may_change_something_is_known_here() -> None:
    app = fastapi_app(None, None, None)  # type: ignore[arg-type]  # it is asked for its document only
    served = {
        f"{method.upper()} {path}"
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if method != "get"
    }

    assert {route.removesuffix(", streamed") for route in ROUTES} == served


def test_every_call_on_the_bus_that_changes_something_is_known_here() -> None:
    changing = {contract.name for contract in _all_contracts() if contract.kind is not Kind.READ}
    by_routes = {contract.name for made_by, _ in ROUTES.values() for contract in made_by}
    by_commands = {contract.name for contract, _ in COMMANDS.values()}

    assert by_routes | by_commands | {contract.name for contract in WITHOUT} == changing


@dataclass
class Tour:
    """Requests under an id of their own for each route."""

    ids: dict[str, str] = field(default_factory=dict)

    async def ask(self, client: httpx.AsyncClient, route: str, path: str = "", **options: Any) -> httpx.Response:
        """The request, which has to succeed. Over HTTP it may have another id each time; the last one counts."""
        self.ids[route] = id = new_id()
        method, template = route.removesuffix(", streamed").split(" ")
        headers = {"X-Request-Id": id, **options.pop("headers", {})}
        answer = await client.request(method, path or template, headers=headers, **options)
        assert answer.is_success, f"{route}: {answer.status_code} {answer.text}"
        return answer


@pytest.fixture(scope="module")
def tour(platform: Platform) -> Tour:
    """Everything that can be changed has been changed once."""
    return asyncio.run(_walked(platform))


async def _walked(platform: Platform) -> Tour:
    tour = Tour()
    async with platform.signed_in() as admin, platform.client() as browser:
        browser.headers["Origin"] = platform.url
        email = f"{new_id()}@example.org"
        made = await tour.ask(admin, "POST /api/v1/users", json={"email": email, "name": "X", "role": "operator"})
        user = made.json()
        await _own_account(tour, platform, browser, email, user["password"])
        await _work(tour, platform, browser, admin)
        await _enrol(browser)
        await _administer(tour, admin, user)
    return tour


async def _own_account(tour: Tour, platform: Platform, browser: httpx.AsyncClient, email: str, password: str) -> None:
    await _sign_in(tour, browser, email, password)
    changed = {"currentPassword": password, "newPassword": OWN}
    await tour.ask(browser, "POST /api/v1/auth/password", json=changed)
    await _sign_in(tour, browser, email, OWN)
    secret = (await tour.ask(browser, "POST /api/v1/auth/totp/setup", json={"password": OWN})).json()["secret"]
    step = totp.step_of(utc_now())
    code = {"totpCode": totp.code_of(secret, step)}
    codes = (await tour.ask(browser, "POST /api/v1/auth/totp/confirm", json=code)).json()["backupCodes"]
    async with platform.client() as other:
        other.headers["Origin"] = platform.url
        login = await other.post("/api/v1/auth/login", json={"email": email, "password": OWN})
        proof = {"tempToken": login.json()["tempToken"], "totpCode": codes[0]}
        verified = await tour.ask(other, "POST /api/v1/auth/totp/verify", json=proof)
        other.headers["Cookie"] = verified.headers["set-cookie"].partition(";")[0]
        await tour.ask(other, "POST /api/v1/auth/logout")
    for _ in range(2):  # others of this person, to be ended one by one and all at once
        async with platform.client() as other:
            other.headers["Origin"] = platform.url
            login = await other.post("/api/v1/auth/login", json={"email": email, "password": OWN})
            proof = {"tempToken": login.json()["tempToken"], "totpCode": codes.pop()}
            assert (await other.post("/api/v1/auth/totp/verify", json=proof)).is_success
    listed = (await browser.get("/api/v1/auth/sessions")).json()["items"]
    other_session = next(session["id"] for session in listed if not session["current"])
    await tour.ask(browser, "DELETE /api/v1/auth/sessions/{session_id}", f"/api/v1/auth/sessions/{other_session}")
    await tour.ask(browser, "DELETE /api/v1/auth/sessions")
    proof = {"password": OWN, "totpCode": codes.pop()}
    renewed = await tour.ask(browser, "POST /api/v1/auth/totp/backup-codes", json=proof)
    proof = {"password": OWN, "totpCode": renewed.json()["backupCodes"][0]}
    await tour.ask(browser, "DELETE /api/v1/auth/totp", json=proof)


async def _sign_in(tour: Tour, browser: httpx.AsyncClient, email: str, password: str) -> None:
    browser.headers.pop("Cookie", None)  # or the log-in would also end that session, which is another entry
    login = await tour.ask(browser, "POST /api/v1/auth/login", json={"email": email, "password": password})
    browser.headers["Cookie"] = login.headers["set-cookie"].partition(";")[0]


async def _work(tour: Tour, platform: Platform, browser: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    key = (await tour.ask(browser, "POST /api/v1/keys", json={"name": "x", "role": "operator"})).json()
    agent = {"name": f"tour-{new_id()}", "type": "echo", "model": "tour"}
    made = await tour.ask(browser, "POST /api/v1/agents", json=agent)
    path = f"/api/v1/agents/{made.json()['id']}"
    put = await tour.ask(browser, "PUT /api/v1/agents/{agent_id}", path, json={"weight": 2})
    assert put.json()["weight"] == 2
    for maintenance in (True, False):
        wish = {"enabled": maintenance}
        await tour.ask(browser, "POST /api/v1/agents/{agent_id}/maintenance", f"{path}/maintenance", json=wish)
    order = {"message": "x", "agentId": made.json()["id"]}
    await tour.ask(browser, "POST /api/v1/openclaw/dispatch", json=order)
    await tour.ask(browser, "POST /api/v1/openclaw/dispatch, streamed", json={**order, "stream": True})
    session = f"tour-{new_id()}"
    assert (await browser.post("/api/v1/openclaw/dispatch", json={**order, "sessionId": session})).is_success
    conversation = f"/api/v1/openclaw/sessions/{session}"
    await tour.ask(browser, "DELETE /api/v1/openclaw/sessions/{session_id}", conversation)
    async with platform.client(key["key"]) as program:
        chat = {"model": "tour", "messages": [{"role": "user", "content": "x"}]}
        await tour.ask(program, "POST /v1/chat/completions", json=chat)
        await tour.ask(program, "POST /v1/chat/completions, streamed", json={**chat, "stream": True})
        await tour.ask(program, "POST /v1/embeddings", json={"model": "tour", "input": "x"})
    await tour.ask(admin, "DELETE /api/v1/agents/{agent_id}", path)
    await tour.ask(browser, "DELETE /api/v1/keys/{key_id}", f"/api/v1/keys/{key['id']}")


async def _enrol(browser: httpx.AsyncClient) -> None:
    setup = await browser.post("/api/v1/auth/totp/setup", json={"password": OWN})
    code = totp.code_of(setup.json()["secret"], totp.step_of(utc_now()))
    confirmed = await browser.post("/api/v1/auth/totp/confirm", json={"totpCode": code})
    assert confirmed.is_success, confirmed.text


async def _administer(tour: Tour, admin: httpx.AsyncClient, user: dict[str, Any]) -> None:
    path = f"/api/v1/users/{user['id']}"
    await tour.ask(admin, "PUT /api/v1/users/{user_id}", path, json={"name": "Y"})
    await tour.ask(admin, "DELETE /api/v1/users/{user_id}/totp", f"{path}/totp")
    await tour.ask(admin, "DELETE /api/v1/users/{user_id}/sessions", f"{path}/sessions")
    await tour.ask(admin, "DELETE /api/v1/users/{user_id}", path)
    await tour.ask(admin, "POST /api/v1/audit/erasures", json={"userId": user["id"]})


@pytest.mark.parametrize("route", ROUTES)
async def test_a_change_over_http_leaves_exactly_its_entries(
    route: str, tour: Tour, operator: httpx.AsyncClient
) -> None:
    phases: list[str] = []

    async with asyncio.timeout(RECORDED_WITHIN_S):
        while "outcome" not in phases:
            page = (await operator.get("/api/v1/audit", params={"requestId": tour.ids[route]})).json()
            phases = sorted(entry["phase"] for entry in page["entries"])

    assert phases == sorted(ROUTES[route][1])
    assert {entry["outcome"] for entry in page["entries"]} <= {"success", None}


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_change_on_the_machine_leaves_its_entry(
    command: str, platform: Platform, admin: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    action = COMMANDS[command][1]
    agent = await admin.post("/api/v1/agents", json={"name": f"tour-{new_id()}", "type": "bus", "model": "x"})
    assert agent.is_success, agent.text
    email = f"{new_id()}@example.org"
    assert (await admin.post("/api/v1/users", json={"email": email, "name": "X", "role": "admin"})).is_success
    wanted = {"action": action, "outcome": "success"}
    before = (await operator.get("/api/v1/audit", params=wanted)).json()["total"]

    ran = platform.command(command, within=60, AGENT=agent.json()["id"], EMAIL=email)
    after = (await operator.get("/api/v1/audit", params=wanted)).json()["total"]

    assert ran.returncode == 0, ran.stderr
    assert after == before + 1
