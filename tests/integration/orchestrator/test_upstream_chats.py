"""Chats with tools, formats and several answers, and embeddings, over real sockets and at strict servers."""

from collections.abc import AsyncIterator

import pytest

from orchestrator.application.upstreams import UpstreamFailure, UpstreamRefusal
from orchestrator.domain.agent import AgentType
from orchestrator.domain.chat import Chat, Inputs
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.anthropic_like import KEY
from tests.integration.orchestrator.ollama_like import OllamaLike
from tests.integration.orchestrator.talking import Talk, talking
from tests.integration.orchestrator.upstreams import Upstream, json_answer, json_reply, reply
from tests.unit.orchestrator.infrastructure.dialects.chats import PNG, TOOL, answer_of, chat

TYPES: list[AgentType] = ["ollama", "anthropic"]
ASKED = {
    "role": "user",
    "content": [{"type": "text", "text": "Is it sunny there?"}, {"type": "image_url", "image_url": {"url": PNG}}],
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture
async def talk(server: Upstream) -> AsyncIterator[Talk]:
    server.ollama = OllamaLike()
    async with talking(server) as talk:
        yield talk


@pytest.mark.parametrize("type", TYPES)
async def test_a_tool_is_called_and_its_result_is_taken(talk: Talk, type: AgentType) -> None:
    called = await talk.complete(type, chat({"role": "system", "content": "Be brief."}, ASKED, tools=[TOOL]))
    message = called.choices[0]["message"]
    (call,) = message["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "Sunny."}

    answer = await talk.complete(type, chat(ASKED, message, result, tools=[TOOL]))

    assert (call["function"], called.choices[0]["finish_reason"]) == (
        {"name": "weather", "arguments": '{"city":"Ulm"}'},
        "tool_calls",
    )
    assert (answer.text, answer.choices[0]["finish_reason"]) == ("Good day.", "stop")


@pytest.mark.parametrize("type", TYPES)
async def test_a_streamed_call_of_a_tool_is_the_same(talk: Talk, type: AgentType) -> None:
    completion = await talk.stream(type, chat(ASKED, tools=[TOOL, TOOL], parallel_tool_calls=True))

    told = answer_of(talk.steps)
    assert {(call["name"], call["arguments"].replace(" ", "")) for call in told["calls"]} == {
        ("weather", '{"city":"Ulm"}')
    }
    assert told["reason"] == "tool_calls"
    assert (completion.prompt_tokens, completion.completion_tokens) == (9, 3)


@pytest.mark.parametrize("type", TYPES)
async def test_an_answer_in_json_and_all_options_are_taken(talk: Talk, type: AgentType) -> None:
    wish = chat(
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
        stop=["a"],
        top_p=0.5,
        seed=7,
        max_completion_tokens=5,
        user="u",
        presence_penalty=0,
    )

    completion = await talk.complete(type, wish)

    assert completion.choices[0]["finish_reason"] == "stop"
    assert len(talk.server.chats) == 1


@pytest.mark.parametrize("type", TYPES)
async def test_several_answers_are_as_many_calls_and_one_answer(talk: Talk, type: AgentType) -> None:
    wish = Chat(messages=[{"role": "user", "content": "Hi"}], choices=3)

    completion = await talk.complete(type, wish)
    streamed = await talk.stream(type, wish)

    assert [choice["index"] for choice in completion.choices] == [0, 1, 2]
    assert (completion.prompt_tokens, completion.completion_tokens) == (27, 9)
    assert (streamed.text, streamed.prompt_tokens, streamed.completion_tokens) == ("Good day.", 27, 9)
    assert [answer_of(talk.steps, index)["text"] for index in range(3)] == ["Good day."] * 3
    assert len(talk.server.chats) == 6


async def test_one_of_several_that_fails_fails_all(talk: Talk) -> None:
    wish = Chat(messages=[{"role": "user", "content": "Hi"}], choices=3)
    talk.server.chat = json_answer(500, {})

    with pytest.raises(UpstreamFailure, match="HTTP 500"):
        await talk.complete("ollama", wish)
    with pytest.raises(UpstreamFailure, match="HTTP 500"):
        await talk.stream("ollama", wish)


async def test_what_cannot_be_asked_for_is_free_whatever_the_number(talk: Talk) -> None:
    wish = Chat(messages=[{"role": "user", "content": "Hi"}], options={"logprobs": True}, choices=3)

    with pytest.raises(UpstreamRefusal, match="leave it out") as refusal:
        await talk.complete("ollama", wish)

    assert (refusal.value.is_free, refusal.value.is_callers, talk.server.requests) == (True, True, [])


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user"}],
        [{"role": "user", "content": [7]}],
        [{"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{"}}]}],
        [{"role": "assistant", "tool_calls": [{}]}],
        [{"role": "tool", "content": "x"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": PNG}]}],
    ],
)
@pytest.mark.parametrize("type", TYPES)
async def test_a_conversation_that_is_none_is_refused_before_anybody_is_asked(
    talk: Talk, type: AgentType, messages: list[dict[str, object]]
) -> None:
    if messages == [{"role": "user"}]:
        messages = [{"content": "no role"}]

    with pytest.raises(UpstreamRefusal, match="not one that OpenAI's API has") as refusal:
        await talk.complete(type, Chat(messages=messages))

    assert (refusal.value.is_callers, talk.server.requests) == (True, [])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500])
async def test_a_refusal_tells_whose_it_is_and_quotes_what_the_caller_can_mend(talk: Talk, status: int) -> None:
    words = f"max\n tokens\x00 {KEY} \u202e" + "x" * 500
    talk.server.chat = json_answer(status, {"error": {"message": words}})

    with pytest.raises(UpstreamFailure) as failure:
        await talk.complete("openai", chat())

    assert isinstance(failure.value, UpstreamRefusal) is (status < 500)
    assert getattr(failure.value, "is_callers", False) is (status in (400, 404, 413, 422))
    assert ('it says "max tokens … xxx' in failure.value.words) is (status in (400, 413, 422))
    assert KEY not in failure.value.words
    assert failure.value.words.isprintable()
    assert len(failure.value.words) < 450


async def test_a_refusal_in_ollamas_shape_is_quoted_too(talk: Talk) -> None:
    talk.server.chat = json_answer(400, {"error": '"m" does not support tools'})

    with pytest.raises(UpstreamRefusal, match='it says ""m" does not support tools"'):
        await talk.complete("ollama", chat())


@pytest.mark.parametrize(
    ("type", "path"), [("openai", "/v1/embeddings"), ("custom", "/some/base/embeddings"), ("ollama", "/api/embed")]
)
async def test_texts_have_embeddings_in_their_order(talk: Talk, type: AgentType, path: str) -> None:
    inputs = Inputs(inputs=["", "a"], options={"user": "u"})

    embeddings = await talk.upstreams[type].embed(talk.agent(type), inputs, within_s=5)

    assert (embeddings.vectors, embeddings.prompt_tokens) == ([[0, 0.5], [1, 0.5]], 4)
    assert talk.server.chats[0].line == f"POST {path} HTTP/1.1"


async def test_tokens_have_embeddings_at_openai_only(talk: Talk) -> None:
    inputs = Inputs(inputs=[[1, 2], [3]])

    await talk.upstreams["openai"].embed(talk.agent("openai"), inputs, within_s=5)
    with pytest.raises(UpstreamRefusal, match="embed texts, not tokens"):
        await talk.upstreams["ollama"].embed(talk.agent("ollama"), inputs, within_s=5)

    assert talk.server.chats[0].json == {"model": "m", "input": [[1, 2], [3]], "encoding_format": "float"}


async def test_anthropic_has_no_embeddings(talk: Talk) -> None:
    with pytest.raises(UpstreamRefusal, match="anthropic agents have no embeddings") as refusal:
        await talk.upstreams["anthropic"].embed(talk.agent("anthropic"), Inputs(inputs=["a"]), within_s=5)

    assert (refusal.value.is_free, refusal.value.is_callers) == (True, True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (json_reply({"data": []}), "not an embedding for each input"),
        (json_reply({"data": [{"index": 1, "embedding": [1]}]}), "not that of a model that makes embeddings"),
        (json_reply({"data": [{"index": 0, "embedding": "AAAA"}]}), "not that of a model that makes embeddings"),
        (json_reply({"data": [{"index": 0, "embedding": []}]}), "not that of a model that makes embeddings"),
        (reply(b"<html>"), "not that of a model that makes embeddings"),
        (json_answer(500, {}), "HTTP 500"),
        (upstreams.one_gigabyte, "larger than 4 MiB; ask for fewer embeddings at once"),
        (upstreams.closes_mid_body, "connection broke"),
    ],
)
async def test_embeddings_that_are_none_are_a_failure(talk: Talk, answer: upstreams.Reply, words: str) -> None:
    talk.server.chat = answer

    with pytest.raises(UpstreamFailure, match=words):
        await talk.upstreams["openai"].embed(talk.agent("openai"), Inputs(inputs=["a"]), within_s=5)
