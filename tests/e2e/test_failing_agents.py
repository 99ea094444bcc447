"""Agents that fail in every way, hang or leave, over HTTP: what callers hear by either door, and in which headers."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import PASSWORD
from tests.e2e.platform import Platform
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.upstreams import (
    OPENAI_ANSWER,
    Reply,
    Upstream,
    after,
    event,
    json_reply,
    redirect,
    reply,
    streams,
)
from tests.integration.ports import free_port
from tests.waiting import eventually

DISPATCH = "/api/v1/openclaw/dispatch"
CHAT = "/v1/chat/completions"
SPLIT = "x-a: b\r\nset-cookie: a=1\r\nx-request-id: theirs\r\nx-b: c\nset-cookie: b=1\r\nx-c: \rset-cookie: c=1\r\n"
"""Headers that would be ours if they went on, split by everything that somebody takes for the end of a line."""
WORDS = streams(
    event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Good day."}}]}),
    event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    b"data: [DONE]\n\n",
)


@dataclass
class Installation:
    """Two edges and two orchestrators, and ports at which there are agents in each test."""

    platform: Platform
    key: str
    ports: list[int]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    ports = [free_port(), free_port()]
    running = Platform(
        tmp_path_factory.mktemp("failing"),
        DEFAULT_ADMIN_PASSWORD=PASSWORD,
        AGENT_ALLOWED_HOSTS=",".join(f"127.0.0.1:{port}" for port in ports),
        SCALE="edge=2 orchestrator=2",
    )
    running.up()
    yield Installation(running, running.key("admin"), ports)
    running.down()


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    async with installation.platform.client(installation.key) as client:
        yield client


@dataclass
class Agent:
    """An agent and the server behind it."""

    id: str
    server: Upstream


@pytest.fixture
async def agents(installation: Installation, client: httpx.AsyncClient) -> AsyncIterator[tuple[Agent, Agent]]:
    """Two agents of one model: one that is asked first, and one that stands in for it."""
    made = []
    for port, name, priority in zip(installation.ports, ("first", "second"), (6, 5), strict=True):
        server = Upstream(port)
        listening = await asyncio.start_server(server.serve, "127.0.0.1", port)
        fields = {"name": name, "type": "openai", "endpoint": f"{server.address}/v1", "model": "m"}
        answer = await client.post("/api/v1/agents", json={**fields, "priority": priority})
        assert answer.status_code == 201, answer.text
        made.append((Agent(answer.json()["id"], server), listening))
    (first, _), (second, _) = made
    yield first, second
    for agent, listening in made:
        await client.delete(f"/api/v1/agents/{agent.id}")
        listening.close()


async def dispatch(client: httpx.AsyncClient, *, timeout_s: int = 20, **wish: Any) -> httpx.Response:
    headers = {"Peanut-Timeout": str(timeout_s)}
    return await client.post(DISPATCH, json={"message": "Hello", **wish}, headers=headers)


async def chat(client: httpx.AsyncClient, *, timeout_s: int = 20, **wish: Any) -> httpx.Response:
    headers = {"Peanut-Timeout": str(timeout_s)}
    messages = [{"role": "user", "content": "Hello"}]
    return await client.post(CHAT, json={"model": "m", "messages": messages, **wish}, headers=headers)


def is_problem(answer: httpx.Response, status: int, reason: str) -> str:
    """Asserts that it is one, with what every answer carries that was counted; returns its detail."""
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), answer.text
    assert (problem["type"], answer.headers["content-type"]) == (f"/problems/{reason}", "application/problem+json")
    assert set(problem) == {"type", "title", "status", "detail", "requestId"}
    assert problem["requestId"] == answer.headers["x-request-id"]
    _says_limits(answer)
    return str(problem["detail"])


def is_error(answer: httpx.Response, status: int, code: str) -> str:
    """The same of one in OpenAI's shape."""
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (status, code, "api_error"), answer.text
    assert set(error) == {"message", "type", "param", "code"}
    _says_limits(answer)
    return str(error["message"])


def _says_limits(answer: httpx.Response) -> None:
    assert answer.headers["ratelimit"].startswith('"dispatch";r=')
    assert answer.headers["ratelimit-policy"].startswith('"dispatch";q=')
    assert "set-cookie" not in answer.headers
    assert "theirs" not in answer.headers["x-request-id"]


BAD_ANSWERS: dict[str, tuple[Reply, str]] = {
    "500": (reply(b"oops", status="500 Oops"), "HTTP 500"),
    "closes at once": (upstreams.closes_at_once, "connection broke"),
    "closes mid body": (upstreams.closes_mid_body, "connection broke"),
    "redirect": (redirect("http://127.0.0.1:9/"), "redirects are not followed"),
    "1 GB": (upstreams.one_gigabyte, "larger than"),
    "endless": (upstreams.endless_chunks, "larger than"),
    "compressed": (reply(b"\x1f\x8b\x08", headers="content-encoding: gzip\r\n"), "not that of a model"),
    "bad UTF-8": (reply(b'{"choices": [{"message": {"content": "\xff"}}]}'), "not that of a model"),
    "wrong schema": (json_reply({"choices": [{"message": {"content": 7}}]}), "not that of a model"),
    "split headers": (reply(b"{}", headers=SPLIT), ""),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_a_failed_agent_is_a_502_by_either_door(
    name: str, client: httpx.AsyncClient, agents: tuple[Agent, Agent]
) -> None:
    first, second = agents
    first.server.chat, words = BAD_ANSWERS[name]

    dispatched = await dispatch(client, agentId=first.id)
    streamed = await dispatch(client, agentId=first.id, stream=True)
    second.server.chat = first.server.chat
    completed = await chat(client)

    for detail in (is_problem(dispatched, 502, "agent-failed"), is_problem(streamed, 502, "agent-failed")):
        assert detail.startswith("Agent first failed: ")
        assert words in detail
    message = is_error(completed, 502, "agent-failed")
    assert re.match("Agent first failed: .* Agent second failed: ", message), message
    assert completed.headers["x-should-retry"] == "false"
    tried = [answer.headers["peanut-agent"] for answer in (dispatched, streamed, completed)]
    assert tried == [first.id, first.id, second.id]


@pytest.mark.parametrize("behaviour", [upstreams.hangs, upstreams.drips], ids=["hangs", "drips"])
async def test_an_agent_that_takes_too_long_is_a_504_by_either_door(
    behaviour: Reply, client: httpx.AsyncClient, agents: tuple[Agent, Agent]
) -> None:
    first, second = agents
    first.server.chat = behaviour

    dispatched = await dispatch(client, timeout_s=2, model="m")
    completed = await chat(client, timeout_s=2)

    assert is_problem(dispatched, 504, "deadline-passed").startswith("Agent first did not answer in time: ")
    assert is_error(completed, 504, "deadline-passed").startswith("Agent first did not answer in time: ")
    assert completed.headers["x-should-retry"] == "false"
    assert {answer.headers["peanut-agent"] for answer in (dispatched, completed)} == {first.id}
    assert second.server.chats == []


async def test_nobody_healthy_is_a_503_that_says_when_to_come_back_by_either_door(
    client: httpx.AsyncClient, agents: tuple[Agent, Agent]
) -> None:
    for agent in agents:
        agent.server.chat = agent.server.probe = reply(b"", status="500 Oops")

    async def nobody_is() -> bool:  # as both replicas know it, whichever is asked
        answers = [await dispatch(client, model="m") for _ in range(12)]
        return {answer.status_code for answer in answers} == {503}

    await eventually(nobody_is, within=30)
    dispatched, named = await dispatch(client, model="m"), await dispatch(client, agentId=agents[0].id)
    streamed, completed = await dispatch(client, model="m", stream=True), await chat(client)

    details = [is_problem(answer, 503, "no-healthy-agents") for answer in (dispatched, streamed, named)]
    assert details[:2] == ["None of the 2 agents that fit is online."] * 2
    assert details[2].startswith("Agent first is offline. ")
    assert is_error(completed, 503, "no-healthy-agents") == details[0]
    for answer in (dispatched, streamed, named, completed):
        assert int(answer.headers["retry-after"]) > 0
        assert "peanut-agent" not in answer.headers
    assert "x-should-retry" not in completed.headers


async def test_an_answer_after_a_failure_explains_itself_whole_and_streamed(
    client: httpx.AsyncClient, agents: tuple[Agent, Agent]
) -> None:
    first, second = agents
    first.server.chat = reply(b"", status="500 Oops")

    whole = await dispatch(client, model="m")
    second.server.chat = WORDS
    streamed = await dispatch(client, model="m", stream=True)

    done = json.loads(streamed.text.rstrip().rpartition("data: ")[2])
    for answered in (whole.json(), done):
        assert [(each["agentId"], each["agentName"], each["outcome"]) for each in answered["attempts"]] == [
            (first.id, "first", "failed"),
            (second.id, "second", "success"),
        ]
        assert [each["why"] for each in answered["attempts"]] == ["HTTP 500", None]
        assert (answered["agentId"], answered["message"]) == (second.id, "Good day.")
    assert {answer.headers["peanut-agent"] for answer in (whole, streamed)} == {second.id}


async def test_every_kind_of_answer_names_its_agent_and_the_limits(
    client: httpx.AsyncClient, agents: tuple[Agent, Agent]
) -> None:
    first, _ = agents
    body = {"message": "Hello", "model": "m"}
    keyed = {"Idempotency-Key": f"kind-{first.id}"}

    answers = [
        await dispatch(client, model="m"),
        await chat(client),
        await client.post("/v1/embeddings", json={"model": "m", "input": ["Good", "day"]}),
        await client.post(DISPATCH, json=body, headers=keyed),
    ]
    replayed = await client.post(DISPATCH, json=body, headers=keyed)
    first.server.chat = WORDS
    answers += [await dispatch(client, model="m", stream=True), await chat(client, stream=True)]

    assert [answer.status_code for answer in (*answers, replayed)] == [200] * 7
    for answer in answers:
        _says_limits(answer)
    assert {answer.headers["peanut-agent"] for answer in (*answers, replayed)} == {first.id}
    assert replayed.headers["idempotency-replayed"] == "true"


async def test_an_agent_that_is_deleted_mid_flight_answers_what_it_has_and_gets_nothing_new(
    client: httpx.AsyncClient, agents: tuple[Agent, Agent]
) -> None:
    first, second = agents
    gate = asyncio.Event()
    first.server.chat = after(gate, json_reply(OPENAI_ANSWER))
    in_flight = [asyncio.create_task(dispatch(client, model="m")) for _ in range(8)]

    async def all_are_there() -> bool:
        return len(first.server.chats) == 8

    await eventually(all_are_there, within=10)
    deleted = await client.delete(f"/api/v1/agents/{first.id}")
    other, named = await dispatch(client, model="m"), await dispatch(client, agentId=first.id)
    gate.set()
    answers = await asyncio.gather(*in_flight)

    assert {(answer.status_code, answer.json()["agentId"]) for answer in answers} == {(200, first.id)}
    assert (deleted.status_code, other.json()["agentId"]) == (204, second.id)
    is_problem(named, 404, "agent-not-found")


async def test_twenty_parallel_retries_with_one_key_are_one_call_and_one_answer(
    client: httpx.AsyncClient, agents: tuple[Agent, Agent]
) -> None:
    first, second = agents
    gate = asyncio.Event()
    first.server.chat = after(gate, json_reply(OPENAI_ANSWER))
    body = {"message": "Hello", "model": "m"}
    headers = {"Idempotency-Key": f"twenty-{first.id}"}
    retries = [asyncio.create_task(client.post(DISPATCH, json=body, headers=headers)) for _ in range(20)]

    async def it_works() -> bool:
        return len(first.server.chats) > 0

    await eventually(it_works, within=10)
    gate.set()
    answers = await asyncio.gather(*retries)

    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 19
    assert {answer.headers["peanut-agent"] for answer in answers} == {first.id}
    assert (len(first.server.chats), len(second.server.chats)) == (1, 0)
