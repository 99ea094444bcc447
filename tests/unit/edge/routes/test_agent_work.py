"""Dispatch and OpenAI's API, in one piece and streamed; a fake bus, real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import orjson
import pytest

from edge.listeners import Listeners
from edge.live_events import LiveEvents
from edge.routes.hot import hot_routes
from shared.bus import Bus
from shared.errors import ErrorCode, RemoteFailure
from tests.unit.edge.bus import FakeBus
from tests.unit.edge.http.serving import Door, edge

DISPATCH = "/api/v1/openclaw/dispatch"
CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
MODELS = {
    "object": "list",
    "data": [
        {"id": id, "object": "model", "created": 1, "owned_by": "a"}
        for id in ("auto", "m", "qwen2.5:7b", "org/model:tag", "100% ä")
    ],
}
FAILED = RemoteFailure(ErrorCode.BAD_GATEWAY, "agent-failed", "None of them did.")


@pytest.fixture
def bus() -> FakeBus:
    bus = FakeBus()
    bus.answers = {
        "orchestrator.dispatch.run": b'{"message": "Hi"}',
        "orchestrator.chat.complete": b'{"object": "chat.completion"}',
        "orchestrator.embedding.create": b'{"object": "list"}',
        "orchestrator.model.list": orjson.dumps(MODELS),
    }
    return bus


@asynccontextmanager
async def client_of(bus: FakeBus, shown: dict[str, str] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    real = cast(Bus, bus)
    door = Door()
    identities: Any = door
    headers = {"Host": "localhost", **({"Authorization": "Bearer key-01"} if shown is None else shown)}
    async with (
        edge(hot=hot_routes(real, LiveEvents(real, Listeners(identities))), door=door) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=5) as client,
    ):
        yield client


STREAMED = [
    b'{"message": "x", "stream": true}',
    b'{"stream":true}',
    b'{"stream"\n:\t true, "n": 1}',
    b'{"x": "\\\\", "stream":true}',
]
NOT_STREAMED = [
    b'{"message": "x"}',
    b'{"stream": false}',
    b'{"stream": null}',
    b'{"message": "say \\"stream\\": true"}',
    b'{"message": "\\"stream\\":true", "stream": false}',
    b'{"stream_options": {"include_usage": true}}',
    b'{"upstream": true}',
    b"",
]


@pytest.mark.parametrize("path", [DISPATCH, CHAT])
async def test_the_body_says_whether_it_is_streamed_and_goes_on_as_it_is(path: str, bus: FakeBus) -> None:
    bus.inlet.sends(*[b"data: 1\n\n", None] * len(STREAMED))
    json = {"Content-Type": "application/json"}

    async with client_of(bus) as client:
        streamed = [await client.post(path, content=body, headers=json) for body in STREAMED]
        whole = [await client.post(path, content=body, headers=json) for body in NOT_STREAMED]

    assert [(name.endswith(".stream"), body) for name, body, _ in bus.asked] == [
        *((True, body) for body in STREAMED),
        *((False, body) for body in NOT_STREAMED),
    ]
    assert {(each.status_code, each.text) for each in streamed} == {(200, "data: 1\n\n")}
    assert {each.headers["content-type"] for each in streamed} == {"text/event-stream; charset=utf-8"}
    assert {(each.status_code, each.headers["content-type"]) for each in whole} == {(200, "application/json")}


async def test_long_blanks_and_many_wishes_take_no_time_to_look_through(bus: FakeBus) -> None:
    body = (b'"stream"' + b" " * 500) * 2000

    async with client_of(bus) as client:
        answer = await client.post(DISPATCH, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 200  # long before the client gives up


@pytest.mark.parametrize("path", [DISPATCH, CHAT])
async def test_what_after_all_is_not_streamed_is_an_ordinary_answer(path: str, bus: FakeBus) -> None:
    bus.inlet.answer = b'{"whole": 1}'
    bus.inlet.sends(None)

    async with client_of(bus) as client:
        answer = await client.post(path, json={"tools": [{"stream": True}]})

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"whole": 1}


async def test_a_dispatch_that_fails_under_way_ends_with_problem_details(bus: FakeBus) -> None:
    bus.inlet.sends(b'event: token\ndata: {"text": "a"}\n\n', FAILED)

    async with client_of(bus) as client:
        answer = await client.post(DISPATCH, json={"message": "x", "stream": True})

    token, error, rest = answer.text.split("\n\n")
    name, data = error.split("\n")
    details = orjson.loads(data.removeprefix("data: "))
    assert (token.split("\n")[0], name, rest) == ("event: token", "event: error", "")
    assert (details["type"], details["status"]) == ("/problems/agent-failed", 502)
    assert details["requestId"] == answer.headers["x-request-id"]


async def test_a_chat_that_fails_under_way_ends_with_openais_error_and_no_done(bus: FakeBus) -> None:
    bus.inlet.sends(b'data: {"choices": []}\n\n', FAILED)

    async with client_of(bus) as client:
        answer = await client.post(CHAT, json={"model": "auto", "stream": True})

    _, error, rest = answer.text.split("\n\n")
    assert (orjson.loads(error.removeprefix("data: "))["error"]["code"], rest) == ("agent-failed", "")


@pytest.mark.parametrize("path", [DISPATCH, CHAT])
async def test_a_stream_that_fails_before_it_begins_has_the_status_of_its_failure(path: str, bus: FakeBus) -> None:
    bus.inlet.notes = {"Peanut-Agent": "0a"}
    bus.inlet.sends(FAILED)

    async with client_of(bus) as client:
        answer = await client.post(path, json={"stream": True})

    assert (answer.status_code, answer.headers["peanut-agent"]) == (502, "0a")
    assert answer.headers["content-type"].endswith("json")


@pytest.mark.parametrize("path", [DISPATCH, CHAT, EMBEDDINGS])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_client_says_how_long_it_may_take(path: str, stream: bool, bus: FakeBus) -> None:
    bus.inlet.sends(b"data: 1\n\n", None, b"data: 1\n\n", None)

    async with client_of(bus) as client:
        await client.post(path, json={"stream": stream}, headers={"Peanut-Timeout": "7"})
        await client.post(path, json={"stream": stream})

    (_, _, given), (name, _, default) = bus.asked
    assert 6 < given.remaining() <= 7
    usual = 600 if name.endswith("stream") else 120
    assert usual - 5 < default.remaining() <= usual


async def test_a_time_that_is_none_is_refused(bus: FakeBus) -> None:
    given = ["0", "601", "1.5", "-1", "+1", "1e2", "01", "", "٣", "1, 2", "1000000"]
    headers = [{b"Peanut-Timeout": each.encode()} for each in given]

    async with client_of(bus) as client:
        dispatched = [await client.post(DISPATCH, json={"message": "x"}, headers=each) for each in headers]
        completed = [await client.post(CHAT, json={"model": "auto"}, headers=each) for each in headers]

    assert {(each.status_code, each.json()["errors"][0]["path"]) for each in dispatched} == {(422, "Peanut-Timeout")}
    assert {(each.status_code, each.json()["error"]["param"]) for each in completed} == {(400, "Peanut-Timeout")}
    assert bus.asked == []


async def test_two_times_are_none(bus: FakeBus) -> None:
    headers = [("Peanut-Timeout", "1"), ("Peanut-Timeout", "600"), ("Host", "localhost")]

    async with client_of(bus, {}) as client:
        answer = await client.post(DISPATCH, json={}, headers=[*headers, ("Authorization", "Bearer key-01")])

    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/repeated-header")


async def test_models_are_listed_as_they_are(bus: FakeBus) -> None:
    async with client_of(bus) as client:
        answer = await client.get("/v1/models")

    assert answer.json() == MODELS


async def test_a_model_is_found_whatever_its_name_is_made_of(bus: FakeBus) -> None:
    paths = ["m", "qwen2.5:7b", "qwen2.5%3A7b", "org/model:tag", "org%2Fmodel%3atag", "100%25%20%C3%A4"]

    async with client_of(bus) as client:
        answers = [await client.get(f"/v1/models/{path}") for path in paths]

    found = [answer.json()["id"] for answer in answers]
    assert found == ["m", "qwen2.5:7b", "qwen2.5:7b", "org/model:tag", "org/model:tag", "100% ä"]


async def test_another_one_is_not_there(bus: FakeBus) -> None:
    paths = ["", "none", "M", "m/", "%FF", "%00", "..%2f..%2fauto", "//m", "m%20"]

    async with client_of(bus) as client:
        answers = [await client.get(f"/v1/models/{path}") for path in paths]

    assert {answer.status_code for answer in answers} == {404}
    assert [answer.json()["error"] for answer in answers] == len(paths) * [
        {
            "message": "There is no such model. model: must be one of GET /v1/models",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    ]


@pytest.mark.parametrize(
    "shown",
    [{}, {"Cookie": "__Host-session=session-01"}, {"Authorization": "Bearer no"}, {"Authorization": "Basic eDp5"}],
    ids=["nothing", "a cookie", "no key of ours", "another scheme"],
)
async def test_only_a_key_counts_under_v1(shown: dict[str, str], bus: FakeBus) -> None:
    routes = [("GET", "/v1/models"), ("GET", "/v1/models/m"), ("POST", CHAT), ("POST", EMBEDDINGS), ("GET", "/v1/x")]
    ours = {"Origin": "http://localhost:3001"}

    async with client_of(bus, shown) as client:
        answers = [await client.request(method, path, headers=ours) for method, path in routes]

    for answer in answers:
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert bus.asked == []


async def test_a_key_counts_beside_a_cookie(bus: FakeBus) -> None:
    shown = {"Cookie": "__Host-session=session-01", "Authorization": "Bearer key-01"}

    async with client_of(bus, shown) as client:
        answer = await client.post(CHAT, json={"model": "auto"}, headers={"Origin": "https://evil.example"})

    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_every_refusal_under_v1_has_openais_form(bus: FakeBus) -> None:
    refused: list[tuple[str, str, dict[str, Any], int, str]] = [
        ("GET", "/v1/unknown", {}, 404, "not-found"),
        ("GET", "/v1/%2e%2e/x", {}, 404, "not-found"),
        ("POST", CHAT, {"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported-media-type"),
        ("POST", CHAT, {"json": {"x": "y" * 1024 * 1024}}, 413, "too-large"),
        ("POST", CHAT, {"headers": {"Host": "evil.example"}}, 421, "unknown-host"),
    ]

    async with client_of(bus) as client:
        answers = [await client.request(method, path, **sent) for method, path, sent, _, _ in refused]

    for answer, (_, _, _, status, code) in zip(answers, refused, strict=True):
        error = answer.json()["error"]
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["code"]) == ("invalid_request_error", code)


async def test_a_page_of_ours_may_use_openais_client(bus: FakeBus) -> None:
    asked = {
        "Origin": "http://localhost:3001",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang,x-stainless-retry-count",
    }

    async with client_of(bus, {}) as client:
        preflight = await client.options(CHAT, headers=asked)
        foreign = await client.options(CHAT, headers={**asked, "Origin": "https://evil.example"})
        refused = await client.post(CHAT, json={}, headers={"Origin": "http://localhost:3001"})

    allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
    assert set(asked["Access-Control-Request-Headers"].split(",")) <= set(allowed)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, asked["Origin"])
    assert "access-control-allow-headers" not in foreign.headers
    assert "X-Should-Retry" in refused.headers["access-control-expose-headers"]
