"""Every row of the contract's first section, and what strangers send instead."""

import json
from typing import Any

import httpx
import pytest

from tests.e2e.platform import Platform
from tests.e2e.sockets import exchange

DISPATCH = "/api/v1/openclaw/dispatch"


def is_problem(answer: httpx.Response, status: int, reason: str | None = None) -> bool:
    body = answer.json()
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["status"] == status
    assert body["requestId"] == answer.headers["x-request-id"]
    assert {"type", "title", "detail"} <= set(body)
    if status == 422:
        assert all({"path", "message"} == set(error) for error in body["errors"])
    return reason is None or body["type"] == f"/problems/{reason}"


@pytest.mark.asvs("2.2.1")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"message": "x"', 400),
        (b'{"message": "x", "message": "y"}', 400),
        (b'{"message": "x", "context": [{"role": "user", "content": "a", "content": "b"}]}', 400),
        (b'{"message": NaN}', 400),
        (b'{"message": "\xff"}', 400),
        (b'{"message": "\\ud800"}', 400),
        (b'\xef\xbb\xbf{"message": "x"}', 400),
        (b'{"message": "x"} trailing', 400),
        (b"[" * 100 + b"]" * 100, 400),
        (b"[" * 500_000, 400),
        (b'{"a":' * 100_000, 400),
        (b'{"message": ' + b"9" * 5000 + b"}", 400),
        (b"null", 422),
        (b"[]", 422),
        (b'"message"', 422),
        (b'{"message": 1}', 422),
        (b'{"message": ""}', 422),
        (b'{"message": null}', 422),
        (b'{"message": "x", "unknown": 1}', 422),
        (b'{"message": "x", "stream": "yes"}', 422),
        (b'{"message": "x", "str\\u0065am": true}', 422),
        (b'{"message": "x", "tags": "a"}', 422),
        (b'{"message": "x", "context": [{"role": "root", "content": "a"}]}', 422),
        (json.dumps({"message": "x" * 100_001}).encode(), 422),
        (b'{"message": "' + b"x" * (1024 * 1024) + b'"}', 413),
    ],
)
@pytest.mark.parametrize("path", [DISPATCH, "/api/v1/agents"])
async def test_a_body_that_is_not_what_it_should_be_is_the_clients_mistake(
    path: str, body: bytes, status: int, operator: httpx.AsyncClient
) -> None:
    answer = await operator.post(path, content=body, headers={"Content-Type": "application/json"})

    assert is_problem(answer, status)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"{}", 422),
        (b'{"enabled": "true"}', 422),
        (b'{"enabled": null}', 422),
        (b'{"enabled": 1}', 422),
        (b'{"enabled": true, "until": 1}', 422),
        (b'{"enabled": true, "enabled": false}', 400),
    ],
)
async def test_maintenance_is_begun_or_ended_and_nothing_else(
    body: bytes, status: int, operator: httpx.AsyncClient
) -> None:
    (agent, *_) = (await operator.get("/api/v1/agents")).json()["items"]

    answer = await operator.post(
        f"/api/v1/agents/{agent['id']}/maintenance", content=body, headers={"Content-Type": "application/json"}
    )

    assert is_problem(answer, status)


async def test_maintenance_is_told_in_the_agents_health_and_ends(operator: httpx.AsyncClient) -> None:
    wish = {"name": "resting", "type": "echo", "model": "resting"}
    path = f"/api/v1/agents/{(await operator.post('/api/v1/agents', json=wish)).json()['id']}"

    resting = await operator.post(f"{path}/maintenance", json={"enabled": True})
    named = await operator.post(DISPATCH, json={"message": "x", "agentId": resting.json()["id"]})
    back = await operator.post(f"{path}/maintenance", json={"enabled": False})
    answered = await operator.post(DISPATCH, json={"message": "x", "agentId": resting.json()["id"]})
    unknown = await operator.post("/api/v1/agents/nobody/maintenance", json={"enabled": True})

    assert (resting.status_code, resting.json()["health"]["status"], resting.headers["etag"]) == (
        200,
        "maintenance",
        '"2"',
    )
    assert is_problem(named, 503, "agent-in-maintenance")
    assert int(named.headers["retry-after"]) > 0
    assert back.json()["health"]["status"] == "online"
    assert (answered.status_code, answered.headers["peanut-agent"]) == (200, resting.json()["id"])
    assert is_problem(unknown, 404, "agent-not-found")


async def test_strangers_send_little(anonymous: httpx.AsyncClient) -> None:
    body = b'{"email": "a@b.c", "password": "' + b"x" * (16 * 1024) + b'"}'

    answer = await anonymous.post("/api/v1/auth/login", content=body, headers={"Content-Type": "application/json"})

    assert is_problem(answer, 413, "too-large")


@pytest.mark.asvs("3.5.2")
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_another_media_type_is_415(kind: str, operator: httpx.AsyncClient) -> None:
    answer = await operator.post(DISPATCH, content=b'{"message": "x"}', headers={"Content-Type": kind})

    assert is_problem(answer, 415, "unsupported-media-type")


@pytest.mark.asvs("2.2.1")
@pytest.mark.parametrize(
    "agent",
    [
        {"name": "x"},
        {"name": "n" * 65},
        {"name": "tab\tname"},
        {"type": "kilo"},
        {"type": "kilo", "endpoint": None, "apiKey": "sk-x"},
        {"type": "echo"},
        {"type": "echo", "endpoint": None, "apiKey": "sk-x"},
        {"type": "bus"},
        {"type": "anthropic", "endpoint": None},
        {"type": "anthropic", "endpoint": "http://localhost:11434/v1"},
        {"type": "custom", "endpoint": None},
        {"type": "custom", "endpoint": "http://localhost:11434/base?x=1"},
        {"type": "custom", "endpoint": "http://localhost:11434/base%2f..%2fadmin"},
        {"type": "custom", "endpoint": "http://localhost:11434/base/chat/completions"},
        {"type": "OLLAMA"},
        {"priority": 0},
        {"priority": 11},
        {"priority": "5"},
        {"priority": 5.5},
        {"priority": True},
        {"weight": 0},
        {"weight": 101},
        {"maxConcurrency": 0},
        {"maxConcurrency": 1001},
        {"inMaintenance": True},
        {"temperature": 2.1},
        {"temperature": -1},
        {"maxTokens": 0},
        {"maxTokens": 200_001},
        {"tags": [1]},
        {"tags": {}},
        {"metadata": []},
        {"id": "mine"},
        {"endpoint": None},
        {"endpoint": "ftp://localhost:11434"},
        {"endpoint": "http://169.254.169.254/latest"},
        {"endpoint": "http://[::ffff:169.254.169.254]/"},
        {"endpoint": "http://0x7f000001:4222"},
        {"endpoint": "http://127.0.0.1:4222"},
        {"endpoint": "http://user:pass@localhost:11434"},
        {"endpoint": "http://10.0.0.1"},
        {"endpoint": "not an address"},
    ],
)
async def test_an_agent_with_a_bad_field_is_refused(agent: dict[str, Any], operator: httpx.AsyncClient) -> None:
    good = {"name": "good", "type": "ollama", "endpoint": "http://localhost:11434", "model": "m"}

    answer = await operator.post("/api/v1/agents", json={**good, **agent})

    assert is_problem(answer, 422)


@pytest.mark.parametrize(
    ("type", "endpoint"),
    [
        ("anthropic", "http://localhost:11434"),
        ("custom", "http://localhost:11434/some/base"),
        ("kilo", None),
    ],
)
async def test_an_agent_of_any_type_is_registered_listed_and_removed(
    type: str, endpoint: str | None, operator: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    wish = {"name": f"of type {type}", "type": type, "endpoint": endpoint, "model": "m", "weight": 1, "priority": 1}

    made = await operator.post("/api/v1/agents", json=wish)
    listed = (await operator.get(f"/api/v1/agents?type={type}")).json()["items"]
    asked = await operator.post(DISPATCH, json={"message": "x", "agentId": made.json()["id"]})
    removed = await admin.delete(made.headers["location"])

    agent = made.json()
    assert (made.status_code, agent["type"], agent["endpoint"], agent["hasApiKey"]) == (201, type, endpoint, False)
    assert agent["health"]["status"] == "offline"
    assert [one["id"] for one in listed] == [agent["id"]]
    assert is_problem(asked, 503, "kilo-unavailable" if type == "kilo" else "no-healthy-agents")
    assert int(asked.headers["retry-after"]) >= 1
    assert removed.status_code == 204


@pytest.mark.asvs("2.2.1")
@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("name", "", "name"),
        ("name", "tab\tname", "name"),
        ("role", "root", "role"),
        ("expiresAt", "2020-01-01T00:00:00Z", "expiresAt"),
        ("expiresAt", "2030-01-01T00:00:00", "expiresAt"),
        *((limit, value, limit) for limit in ("rpm", "tokensPerDay") for value in (0, -1, True, 1.5, 1.0, "60", [1])),
        ("rpm", 1_000_001, "rpm"),
        ("tokensPerDay", 10**12 + 1, "tokensPerDay"),
        ("tokensPerDay", 2**64 - 1, "tokensPerDay"),
        ("models", [], "models"),
        ("models", "qwen2.5:7b", "models"),
        ("models", {"qwen2.5:7b": 1}, "models"),
        ("models", [f"m{number}" for number in range(101)], "models"),
        ("models", ["a", "b", "a"], "models"),
        ("models", [f"{number:0199}" for number in range(42)], "models"),
        ("models", ["a", ""], "models.1"),
        ("models", [" "], "models.0"),
        ("models", ["a\nb"], "models.0"),
        ("models", ["a\u202eb"], "models.0"),
        ("models", ["x" * 201], "models.0"),
        ("models", ["a", None], "models.1"),
        ("models", [7], "models.0"),
        ("countsAlone", True, "countsAlone"),
    ],
)
async def test_a_key_with_a_bad_field_is_refused_and_not_made(
    field: str, value: Any, path: str, admin: httpx.AsyncClient
) -> None:
    before = (await admin.get("/api/v1/keys?limit=100")).json()["items"]

    answer = await admin.post("/api/v1/keys", json={"name": "bad", field: value})

    assert is_problem(answer, 422)
    assert [error["path"] for error in answer.json()["errors"]] == [path]
    after = (await admin.get("/api/v1/keys?limit=100")).json()["items"]
    assert [key["id"] for key in after] == [key["id"] for key in before]


async def test_a_limit_of_more_than_64_bits_is_malformed(admin: httpx.AsyncClient) -> None:
    answer = await admin.post("/api/v1/keys", json={"name": "bad", "rpm": 2**64})

    assert is_problem(answer, 400, "malformed-json")


@pytest.mark.asvs("6.3.4")
@pytest.mark.parametrize("path", ["/api/v1/auth/me", "/api/v1/agents", "/api/v1/audit", "/api/v1/keys", "/api/v1/x"])
async def test_nothing_under_the_api_is_told_to_strangers(path: str, anonymous: httpx.AsyncClient) -> None:
    answer = await anonymous.get(path)

    assert is_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.asvs("7.2.1")
@pytest.mark.parametrize(
    "token",
    [
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
        "peanut_" + "a" * 49,
        "x",
        "a.b.c",
        "Bearer",
        "../../etc/passwd",
        "x" * 4000,
    ],
)
async def test_a_made_up_token_opens_nothing_in_either_place(token: str, anonymous: httpx.AsyncClient) -> None:
    as_key = await anonymous.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    as_cookie = await anonymous.get("/api/v1/auth/me", headers={"Cookie": f"__Host-session={token}"})

    assert is_problem(as_key, 401)
    assert is_problem(as_cookie, 401)


@pytest.mark.asvs("6.3.4", "9.2.2")
async def test_a_session_token_is_no_key_and_a_bad_key_beats_a_good_cookie(admin: httpx.AsyncClient) -> None:
    token = admin.headers["Cookie"].partition("=")[2]

    as_key = await admin.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}", "Cookie": ""})
    beside = await admin.get("/api/v1/auth/me", headers={"Authorization": "Bearer nonsense"})

    assert is_problem(as_key, 401)
    assert is_problem(beside, 401)


@pytest.mark.asvs("3.5.1")
@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://localhost:3000.evil.example"])
async def test_a_foreign_page_changes_nothing_with_the_cookie(origin: str | None, admin: httpx.AsyncClient) -> None:
    del admin.headers["Origin"]
    headers = {"Origin": origin} if origin else {}

    answer = await admin.post("/api/v1/keys", json={"name": "stolen"}, headers=headers)
    keys = (await admin.get("/api/v1/keys")).json()["items"]

    assert is_problem(answer, 403, "foreign-origin")
    assert "stolen" not in [key["name"] for key in keys]


@pytest.mark.asvs("3.5.1", "7.6.2")
async def test_login_refuses_a_foreign_page_too(anonymous: httpx.AsyncClient) -> None:
    answer = await anonymous.post(
        "/api/v1/auth/login",
        json={"email": "admin@peanut.local", "password": "x"},
        headers={"Origin": "https://evil.example"},
    )

    assert is_problem(answer, 403, "foreign-origin")


async def test_an_unknown_host_is_misdirected(anonymous: httpx.AsyncClient) -> None:
    assert is_problem(await anonymous.get("/health", headers={"Host": "evil.example"}), 421, "unknown-host")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/agents/..%2f..%2fhealth",
        "/api/v1/agents/%00",
        "//api/v1/agents",
        "/api/v1//agents",
        "/api/v1/agents/",
        "/api/v1/./agents",
        "/api/v1/agents/not-an-id",
        "/api/v1/agents/%2e%2e",
        "/API/V1/agents",
    ],
)
async def test_path_tricks_lead_nowhere(path: str, platform: Platform, operator_key: str) -> None:
    answer = await exchange(
        platform,
        f"GET {path} HTTP/1.1\r\nHost: localhost:{platform.port}\r\nAuthorization: Bearer {operator_key}\r\n"
        "Connection: close\r\n\r\n".encode(),
    )

    assert answer.split(b"\r\n")[0] == b"HTTP/1.1 404 Not Found"


async def test_another_method_is_405_and_says_which_are_allowed(operator: httpx.AsyncClient) -> None:
    answer = await operator.patch("/api/v1/agents", json={})

    assert is_problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "POST"}


@pytest.mark.asvs("3.4.6")
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 900) for i in range(40)) + b"\r\n", b"431"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, b"431"),
    ],
)
async def test_bytes_that_are_no_request_get_a_problem_and_the_door(
    request_: bytes, status: bytes, platform: Platform
) -> None:
    answer = await exchange(platform, request_)

    assert answer.split(b" ")[1] == status
    assert b"application/problem+json" in answer
    assert b"frame-ancestors 'none'" in answer


@pytest.mark.asvs("4.2.1")
async def test_conflicting_lengths_are_not_smuggled(platform: Platform) -> None:
    answer = await exchange(
        platform,
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost:%d\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\n\r\n" % platform.port,
    )

    assert answer.split(b" ")[1] == b"400"
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_two_cookies_headers_are_refused(platform: Platform) -> None:
    answer = await exchange(
        platform,
        b"GET /api/v1/auth/me HTTP/1.1\r\nHost: localhost:%d\r\nCookie: __Host-session=a\r\n"
        b"Cookie: __Host-session=b\r\nConnection: close\r\n\r\n" % platform.port,
    )

    assert answer.split(b" ")[1] == b"400"


@pytest.mark.asvs("3.2.1", "3.4.3", "3.4.4", "3.4.5")
async def test_every_answer_carries_the_request_id_and_the_security_headers(operator: httpx.AsyncClient) -> None:
    answer = await operator.get("/api/v1/auth/me", headers={"X-Request-Id": "mine-1"})

    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


@pytest.mark.asvs("3.4.2")
async def test_the_dashboards_origin_may_read_answers(operator: httpx.AsyncClient) -> None:
    asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST"}

    preflight = await operator.options("/api/v1/agents", headers=asked)
    answer = await operator.get("/api/v1/auth/me", headers={"Origin": "http://localhost:3000"})
    foreign = await operator.options("/api/v1/agents", headers={**asked, "Origin": "https://evil.example"})

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "access-control-allow-origin" not in foreign.headers


@pytest.mark.parametrize("key", ["", "a b", "k" * 256])
async def test_what_cannot_be_an_idempotency_key_is_refused_rather_than_ignored(
    operator: httpx.AsyncClient, key: str
) -> None:
    answer = await operator.post(DISPATCH, json={"message": "x"}, headers={"Idempotency-Key": key})

    assert is_problem(answer, 422)


@pytest.mark.asvs("2.2.1")
@pytest.mark.parametrize(
    "query",
    [
        "limit=1&limit=2",
        "limit=1&l%69mit=2",
        "limit=0",
        "limit=101",
        "limit=x",
        "cursor=forged",
        "unknown=1",
        "type=webhook",
    ],
)
async def test_a_bad_parameter_of_a_list_is_refused(query: str, operator: httpx.AsyncClient) -> None:
    assert is_problem(await operator.get(f"/api/v1/agents?{query}"), 422)


async def test_pages_follow_each_other_without_gaps(operator: httpx.AsyncClient) -> None:
    whole = (await operator.get("/api/v1/agents")).json()["items"]
    first = (await operator.get("/api/v1/agents?limit=1")).json()
    second = (await operator.get("/api/v1/agents", params={"limit": 1, "cursor": first["nextCursor"]})).json()

    assert [agent["id"] for agent in (*first["items"], *second["items"])] == [agent["id"] for agent in whole[:2]]


@pytest.mark.parametrize("query", ["page=0", "limit=101", "action=unheard.of", "startDate=yesterday", "nonsense=1"])
async def test_a_bad_filter_of_the_audit_log_is_refused(query: str, operator: httpx.AsyncClient) -> None:
    assert is_problem(await operator.get(f"/api/v1/audit?{query}"), 422)
