"""OpenAI's official client against the whole platform, whatever type of agent is behind it."""

import json
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from tests.e2e.conftest import PASSWORD
from tests.e2e.platform import PROJECT, Platform
from tests.e2e.speaking_agents import ARGUMENTS, VECTOR, SpeakingAgents, speaking_agents
from tests.integration.ports import free_port
from tests.waiting import eventually

TYPES = ("echo", "openai", "custom", "ollama", "anthropic", "bus")
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "How the weather is",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]

every_type = pytest.mark.parametrize("type", TYPES)


def says(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@dataclass
class Installation:
    """A platform that may reach agents at one port."""

    platform: Platform
    key: str
    port: int
    has_agents: bool = False
    bus_agent: "subprocess.Popen[bytes] | None" = None

    def start_bus_agent(self, id: str) -> None:
        """The one program of the agent of type bus, with a key of `make agent-key`."""
        made = self.platform.command("agent-key", AGENT=id)
        assert made.returncode == 0, made.stderr
        seed = self.platform.root / "bus_agent.nk"
        seed.write_text(made.stdout)
        program = [sys.executable, "-m", "tests.e2e.speaking_bus_agent", self.platform.nats_url, id, str(seed)]
        self.bus_agent = subprocess.Popen(program, cwd=PROJECT)

    def client(self, key: str | None = None) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.platform.url}/v1", api_key=key or self.key, max_retries=0)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    port = free_port()
    running = Platform(
        tmp_path_factory.mktemp("openai"), DEFAULT_ADMIN_PASSWORD=PASSWORD, AGENT_ALLOWED_HOSTS=f"127.0.0.1:{port}"
    )
    running.admin_password = PASSWORD
    running.up()
    made = Installation(running, running.key("viewer"), port)
    yield made
    if made.bus_agent is not None:
        made.bus_agent.kill()
        made.bus_agent.wait()
    running.down()


@pytest.fixture
async def agents(installation: Installation) -> AsyncIterator[SpeakingAgents]:
    """One agent of each type, each the only one of its model; they stay registered from test to test."""
    async with speaking_agents(installation.port) as server:
        if not installation.has_agents:
            await _register(installation, server)
            installation.has_agents = True
        yield server


async def _register(installation: Installation, server: SpeakingAgents) -> None:
    async with installation.platform.signed_in() as admin:
        for type in TYPES:
            fields: dict[str, object] = {"name": f"the {type}", "type": type, "model": f"{type}-model"}
            if type not in ("echo", "bus"):
                fields["endpoint"] = server.endpoint(type)
            if type == "anthropic":
                fields["apiKey"] = "sk-ant-test"
            made = await admin.post("/api/v1/agents", json=fields)
            assert made.status_code == 201
            if type == "bus":
                installation.start_bus_agent(made.json()["id"])

        async def are_online() -> bool:
            agents = (await admin.get("/api/v1/agents")).json()["items"]
            return {agent["health"]["status"] for agent in agents} == {"online"}

        await eventually(are_online, within=20)


@pytest.fixture
async def client(installation: Installation, agents: SpeakingAgents) -> AsyncIterator[openai.AsyncOpenAI]:
    async with installation.client() as client:
        yield client


@every_type
async def test_a_chat_is_completed(type: str, client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model=f"{type}-model", messages=says("Good day"))

    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == "Good day"
    assert (answer.choices[0].finish_reason, answer.choices[0].message.role) == ("stop", "assistant")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer.model == f"{type}-model"
    assert answer._request_id


@every_type
@pytest.mark.parametrize("include_usage", [False, True])
async def test_a_chat_is_streamed_word_by_word(type: str, include_usage: bool, client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=f"{type}-model",
        messages=says("Good day to you"),
        stream=True,
        stream_options={"include_usage": include_usage},
    )
    chunks = [chunk async for chunk in stream]

    words = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    ends = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert (words, ends) == (["Good", " day", " to", " you"], ["stop"])
    assert len(usages) == include_usage
    if include_usage:
        assert (chunks[-1].choices, chunks[-1].usage) == ([], usages[0])
        assert usages[0].total_tokens == usages[0].prompt_tokens + usages[0].completion_tokens > 0
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert stream.response.headers["peanut-agent"]


@every_type
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_tool_is_called_and_what_comes_of_it_is_told(
    type: str, stream: bool, client: openai.AsyncOpenAI
) -> None:
    choice: Any = openai.NOT_GIVEN if type == "ollama" else "required"  # which can be asked for everywhere else
    asked: Any = {"model": f"{type}-model", "messages": says("How is it?"), "tools": TOOLS, "tool_choice": choice}
    if stream:
        async with client.chat.completions.stream(**asked) as events:
            first = (await events.get_final_completion()).choices[0]
    else:
        first = (await client.chat.completions.create(**asked)).choices[0]
    assert first.message.tool_calls
    (call,) = first.message.tool_calls
    messages: list[Any] = [
        *says("How is it?"),
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump(include={"id", "type", "function"})]},
        {"role": "tool", "tool_call_id": call.id, "content": "Result: sunny"},
    ]
    answer = await client.chat.completions.create(model=f"{type}-model", messages=messages, tools=TOOLS)

    assert first.finish_reason == "tool_calls"
    assert call.type == "function"
    assert call.function.name == "weather"
    assert call.function.arguments == "{}" or json.loads(call.function.arguments) == ARGUMENTS
    assert answer.choices[0].message.content == "Result: sunny"


@every_type
async def test_n_answers_and_a_stop_are_honoured(type: str, client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=f"{type}-model", messages=says("Good day to you"), n=2, stop=[" to"]
    )

    assert [(choice.index, choice.message.content) for choice in answer.choices] == [(0, "Good day"), (1, "Good day")]


async def test_a_response_format_and_what_we_do_not_know_reach_the_agent(
    client: openai.AsyncOpenAI, agents: SpeakingAgents
) -> None:
    format: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    await client.chat.completions.create(
        model="openai-model",
        messages=says("x"),
        response_format=format,
        extra_body={"made_up": {"deep": [1, None]}},
    )
    await client.chat.completions.create(
        model="ollama-model", messages=says("x"), response_format={"type": "json_object"}
    )

    to_openai, to_ollama = agents.requests
    assert to_openai["response_format"] == format
    assert to_openai["made_up"] == {"deep": [1, None]}
    assert to_ollama["format"] == "json"


@pytest.mark.parametrize("type", ["echo", "openai", "custom", "ollama", "bus"])
async def test_embeddings_are_the_same_as_numbers_and_in_base64(type: str, client: openai.AsyncOpenAI) -> None:
    texts = ["Good", "day"]
    packed = await client.embeddings.create(model=f"{type}-model", input=texts)
    plain = await client.embeddings.create(model=f"{type}-model", input=texts, encoding_format="float")
    one = await client.embeddings.create(model=f"{type}-model", input="Good")

    assert [each.index for each in packed.data] == [0, 1]
    for ours, theirs in zip(packed.data, plain.data, strict=True):
        assert all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(ours.embedding, theirs.embedding, strict=True))
    assert type == "echo" or plain.data[0].embedding == VECTOR
    assert one.data[0].embedding == packed.data[0].embedding
    assert packed.usage.prompt_tokens > 0


async def test_a_model_without_embeddings_is_the_clients_own_error(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.embeddings.create(model="anthropic-model", input="Good")

    assert (refused.value.code, refused.value.param) == ("no-embeddings", "model")
    assert "anthropic-model is served by agents alone that make none" in refused.value.message


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_how_a_bus_agent_fails_is_the_clients_own_error(stream: bool, client: openai.AsyncOpenAI) -> None:
    async def told(word: str, **more: Any) -> openai.APIStatusError:
        await client.chat.completions.create(
            model="bus-model", messages=says("x")
        )  # three failures in a row are enough
        with pytest.raises(openai.APIStatusError) as failed:
            await client.chat.completions.create(model="bus-model", messages=says(word), stream=stream, **more)
        return failed.value

    failed, refused = await told("fail"), await told("refuse")
    late = await told("hang", extra_headers={"Peanut-Timeout": "1"})

    assert (failed.status_code, failed.code) == (502, "agent-failed")
    assert "it says: out of peanuts" in failed.message
    assert (refused.status_code, refused.code) == (400, "request-refused")
    assert "it says: not that" in refused.message
    assert (late.status_code, late.code) == (504, "deadline-passed")
    assert {each.response.headers["x-should-retry"] for each in (failed, late)} == {"false"}


async def test_models_are_listed_and_found(client: openai.AsyncOpenAI) -> None:
    listed = {model.id async for model in client.models.list()}
    found = await client.models.retrieve("ollama-model")
    auto = await client.chat.completions.create(model="auto", messages=says("x"))

    assert {"auto", *(f"{type}-model" for type in TYPES)} <= listed
    assert (found.id, found.object) == ("ollama-model", "model")
    assert auto.choices[0].message.content == "x"


async def test_failures_are_the_clients_own_errors(client: openai.AsyncOpenAI, installation: Installation) -> None:
    async with installation.client("peanut_wrong") as stranger:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await stranger.models.list()
    with pytest.raises(openai.NotFoundError) as no_model:
        await client.chat.completions.create(model="none", messages=says("x"))
    with pytest.raises(openai.NotFoundError) as not_listed:
        await client.models.retrieve("none/of:them")
    with pytest.raises(openai.BadRequestError) as bad_field:
        await client.chat.completions.create(model="auto", messages=says("x"), n=99)
    with pytest.raises(openai.BadRequestError) as bad_time:
        await client.chat.completions.create(
            model="auto", messages=says("x"), extra_headers={"Peanut-Timeout": "never"}
        )
    with pytest.raises(openai.APIStatusError) as too_large:
        await client.chat.completions.create(model="auto", messages=says("x" * 1024 * 1024))

    codes = [each.value.code for each in (unknown, no_model, not_listed, bad_field, bad_time, too_large)]
    assert codes == [
        "invalid_api_key",
        "model_not_found",
        "model_not_found",
        "invalid-fields",
        "invalid-fields",
        "too-large",
    ]
    assert (bad_field.value.param, bad_time.value.param) == ("n", "Peanut-Timeout")
    assert too_large.value.status_code == 413
    assert all(each.value.request_id for each in (unknown, no_model, bad_field, too_large))


async def test_a_key_may_use_its_models_alone_and_only_as_often_as_it_may(
    client: openai.AsyncOpenAI, installation: Installation
) -> None:
    wish = {"name": "narrow", "role": "viewer", "models": ["echo-model"], "rpm": 2}
    async with installation.platform.signed_in() as admin:
        key = (await admin.post("/api/v1/keys", json=wish)).json()["key"]

    async with installation.client(key) as narrow:
        listed = {model.id async for model in narrow.models.list()}
        with pytest.raises(openai.PermissionDeniedError) as not_allowed:
            await narrow.chat.completions.create(model="openai-model", messages=says("x"))
        await narrow.chat.completions.create(model="echo-model", messages=says("x"))
        with pytest.raises(openai.RateLimitError) as too_often:
            await narrow.chat.completions.create(model="echo-model", messages=says("x"), stream=True)

    assert listed == {"auto", "echo-model"}
    assert not_allowed.value.code == "model-not-allowed"
    assert too_often.value.code == "rate_limit_exceeded"
    assert int(too_often.value.response.headers["retry-after"]) > 0
    assert too_often.value.response.headers["ratelimit"]
