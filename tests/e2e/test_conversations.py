"""Stored conversations over HTTP: everybody's own, under whatever name."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin

import httpx
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from orchestrator.application.conversations import Lease
from orchestrator.domain.conversation import Exchange
from orchestrator.infrastructure.sql_conversations import SqlConversations
from shared.clock import rfc3339, utc_now
from shared.database import open_database
from shared.ids import new_id
from tests.e2e.platform import Platform

SESSIONS = "/api/v1/openclaw/sessions"
FIELDS = {"id", "agentId", "model", "messageCount", "title", "createdAt", "updatedAt", "expiresAt"}


@dataclass
class Shelf:
    """Puts conversations where the orchestrator keeps them."""

    store: SqlConversations
    owner: str
    exchange: Exchange = field(default_factory=lambda: Exchange("Hello", "Good day.", utc_now(), utc_now()))

    async def put(self, *ids: str) -> None:
        for id in ids:
            lease = Lease(owner=self.owner, id=id, holder=new_id(), until=utc_now())
            await self.store.begin(lease, now=utc_now())
            await self.store.keep(lease, self.exchange, "a-1", "m")


@pytest.fixture
async def shelf(platform: Platform, operator: httpx.AsyncClient) -> AsyncIterator[Shelf]:
    """That of the person to whom the operator's key belongs."""
    settings = (platform.root / ".env").read_text(encoding="utf-8")
    key = re.search(r"(?m)^AGENT_ENCRYPTION_KEY=\"?([0-9a-f]{64})", settings)
    assert key
    me = (await operator.get("/api/v1/auth/me")).json()
    async with open_database(f"sqlite+aiosqlite:///{platform.root}/data/orchestrator.db") as database:
        yield Shelf(SqlConversations(database, bytes.fromhex(key[1])), me["id"])
    for listed in (await operator.get(SESSIONS)).json()["items"]:
        await operator.delete(f"{SESSIONS}/{quote(listed['id'], safe='')}")


@pytest.fixture
async def stranger(platform: Platform, admin: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """The browser of another person, a viewer."""
    user = {"email": "vera@example.org", "name": "Vera", "role": "viewer"}
    made = (await admin.post("/api/v1/users", json=user)).json()
    async with platform.client() as client:
        client.headers["Origin"] = platform.url
        signed_in = await client.post("/api/v1/auth/login", json={"email": made["email"], "password": made["password"]})
        client.headers["Cookie"] = signed_in.headers["set-cookie"].partition(";")[0]
        own = {"currentPassword": made["password"], "newPassword": "a password only its owner knows"}
        assert (await client.post("/api/v1/auth/password", json=own)).status_code == 204
        yield client
    await admin.delete(f"/api/v1/users/{made['id']}")


async def test_a_conversation_is_listed_and_read(operator: httpx.AsyncClient, shelf: Shelf) -> None:
    await shelf.put("s")

    listed = await operator.get(SESSIONS)
    one = await operator.get(f"{SESSIONS}/s")

    assert (listed.status_code, one.status_code) == (200, 200)
    (conversation,) = listed.json()["items"]
    assert set(conversation) == FIELDS
    assert (conversation["title"], conversation["messageCount"]) == ("Hello", 2)
    assert {name: value for name, value in one.json().items() if name != "messages"} == conversation
    assert one.json()["messages"] == [
        {"role": "user", "content": "Hello", "timestamp": rfc3339(shelf.exchange.asked_at)},
        {"role": "assistant", "content": "Good day.", "timestamp": rfc3339(shelf.exchange.answered_at)},
    ]


@pytest.mark.asvs("8.2.2")
async def test_what_others_have_is_not_there(
    operator: httpx.AsyncClient, stranger: httpx.AsyncClient, shelf: Shelf
) -> None:
    await shelf.put("s")

    listed = await stranger.get(SESSIONS)
    answers = [await stranger.request(method, f"{SESSIONS}/s") for method in ("GET", "DELETE")]

    assert listed.json() == {"items": [], "nextCursor": None}
    for answer in answers:
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/session-not-found")
    assert (await operator.get(f"{SESSIONS}/s")).status_code == 200


async def test_a_deleted_conversation_is_gone_and_that_is_recorded(
    operator: httpx.AsyncClient, admin: httpx.AsyncClient, shelf: Shelf
) -> None:
    id = new_id()
    await shelf.put(id)

    answers = [await operator.delete(f"{SESSIONS}/{id}") for _ in range(2)]

    entries = (await admin.get("/api/v1/audit", params={"resourceId": id})).json()["entries"]
    assert [answer.status_code for answer in answers] == [204, 404]
    assert (await operator.get(f"{SESSIONS}/{id}")).status_code == 404
    assert [(entry["action"], entry["phase"]) for entry in entries] == [
        ("conversation.deleted", "outcome"),
        ("conversation.deleted", "intent"),
    ]


@pytest.mark.parametrize("id", ["my chat", "a/b/../c", "ペ" * 128, "100%", "?q=1#x", ".hidden", "a:b@c", "%2F"])
async def test_every_name_can_be_reached(operator: httpx.AsyncClient, shelf: Shelf, id: str) -> None:
    await shelf.put(id)
    path = f"{SESSIONS}/{quote(id, safe='')}"

    answers = [await operator.request(method, path) for method in ("GET", "DELETE", "GET")]

    assert [answer.status_code for answer in answers] == [200, 204, 404]
    assert answers[0].json()["id"] == id


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128) | st.text(
    "./%+?#\\ a\u0301\U0001f95c", min_size=1, max_size=8
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(id=NAMES)
@example(id=".")
@example(id="..")
@example(id="...")
@example(id="./.")
@example(id="../agents")
@example(id="%2e%2E")
@example(id=" a/b ")
@example(id="ペ" * 128)
@example(id="new/")
def test_every_name_that_a_dispatch_takes_can_be_read_and_deleted(
    id: str, platform: Platform, operator_key: str
) -> None:
    """By a client that takes dots out of paths, as browsers do, and escapes what it puts there."""
    with httpx.Client(base_url=platform.url, headers={"Authorization": f"Bearer {operator_key}"}, timeout=30) as client:
        dispatched = client.post("/api/v1/openclaw/dispatch", json={"message": "Hello", "sessionId": id})
        assume(id != "new")
        if dispatched.status_code == 422:
            assert [each["path"] for each in dispatched.json()["errors"]] == ["sessionId"]
            assert id in {".", ".."} or not id.isprintable() or id.isspace()
            return
        path = f"{SESSIONS}/{quote(id, safe='')}"
        assert urljoin(f"{platform.url}/x", path) == platform.url + path
        answers = [client.request(method, path) for method in ("GET", "DELETE", "GET")]

    assert (dispatched.status_code, dispatched.json()["sessionId"]) == (200, id)
    assert [answer.status_code for answer in answers] == [200, 204, 404]
    assert answers[0].json()["id"] == id


@pytest.mark.parametrize("id", [".", ".."])
async def test_a_name_that_no_client_can_ask_for_is_refused_with_the_reason(
    id: str, operator: httpx.AsyncClient
) -> None:
    for stream in (False, True):
        wish = {"message": "Hello", "sessionId": id, "stream": stream}
        answer = await operator.post("/api/v1/openclaw/dispatch", json=wish)

        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["path"]) == (422, "sessionId")
        assert "no client can ask for" in error["message"]


@pytest.mark.parametrize("path", ["", "..", "a/b", "%2", "%zz", "a\\b"])
async def test_what_is_no_name_in_a_path_is_not_there(operator: httpx.AsyncClient, path: str) -> None:
    url = operator.build_request("GET", SESSIONS).url.copy_with(raw_path=f"{SESSIONS}/{path}".encode())

    answer = await operator.get(url)

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


async def test_pages_follow_each_other(operator: httpx.AsyncClient, shelf: Shelf) -> None:
    ids = [f"s {number}" for number in range(5)]
    await shelf.put(*ids)
    seen: list[str] = []
    wanted = {"limit": "2"}
    for _ in range(3):
        page = (await operator.get(SESSIONS, params=wanted)).json()
        seen += [each["id"] for each in page["items"]]
        wanted["cursor"] = page["nextCursor"]

    assert sorted(seen) == ids
    assert wanted["cursor"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=forged", "unknown=1"])
async def test_a_list_that_cannot_be_is_refused(operator: httpx.AsyncClient, query: str) -> None:
    answer = await operator.get(f"{SESSIONS}?{query}")

    assert answer.status_code == 422


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_nobody_has_none(anonymous: httpx.AsyncClient, method: str) -> None:
    assert (await anonymous.request(method, f"{SESSIONS}/s")).status_code == 401
