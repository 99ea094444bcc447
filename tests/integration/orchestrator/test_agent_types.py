"""Agents of the types anthropic, custom and kilo, and what OpenAI's and Ollama's models that think make different."""

from typing import Any

import pytest

from shared.bus import Bus
from shared.contracts.audit import Outcome
from shared.contracts.orchestrator import (
    CHECK_AGENT,
    DISPATCH,
    LIST_AGENTS,
    REGISTER_AGENT,
    UPDATE_AGENT,
    Agent,
    AgentChanges,
    AgentHealth,
    Dispatch,
    GetAgent,
    ListAgents,
    RegisterAgent,
    UpdateAgent,
)
from shared.errors import ErrorCode, PlatformError
from shared.principal import Role
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.anthropic_like import KEY
from tests.integration.orchestrator.calls import dispatch, look, remove_built_in
from tests.integration.orchestrator.cluster import AuditLog, by
from tests.integration.orchestrator.upstreams import Reply, Upstream, json_answer, json_reply, redirect, reply

CANARY = "canary-in-the-body"


async def registered(edge: Bus, server: Upstream, type: str, **fields: object) -> Agent:
    """An agent called llama at that upstream, under the base path that its type has there."""
    bases = {"openai": "/v1", "custom": "/some/base"}
    endpoint = server.address + bases.get(type, "")
    wish = {"name": "llama", "type": type, "endpoint": endpoint, "model": "m", "api_key": KEY, **fields}
    return await edge.call(REGISTER_AGENT, RegisterAgent.model_validate(wish), by(Role.OPERATOR))


async def registered_kilo(edge: Bus, **fields: object) -> Agent:
    wish = RegisterAgent.model_validate({"name": "kilo", "type": "kilo", "model": "m", **fields})
    return await edge.call(REGISTER_AGENT, wish, by(Role.OPERATOR))


async def check(edge: Bus, agent: Agent) -> AgentHealth:
    return await edge.call(CHECK_AGENT, GetAgent(id=agent.id), by(Role.VIEWER))


async def refusal(edge: Bus, message: str = "Hello", **fields: object) -> PlatformError:
    wish = Dispatch.model_validate({"message": message, **fields})
    with pytest.raises(PlatformError) as failure:
        await edge.call(DISPATCH, wish, by(Role.OPERATOR))
    return failure.value


async def test_an_anthropic_agent_is_sent_what_it_needs_and_no_more(edge: Bus, server: Upstream) -> None:
    agent = await registered(edge, server, "anthropic", max_tokens=77, temperature=0.5)

    answer = await dispatch(edge, "Hi", context=[{"role": "system", "content": "Be brief."}])

    sent = server.chats[0]
    assert sent.line == "POST /v1/messages HTTP/1.1"
    assert sent.json == {
        "model": "m",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 77,
        "temperature": 0.5,
    }
    always = {"host", "user-agent", "accept", "accept-encoding"}
    assert sent.headers.keys() == always | {"content-type", "content-length", "x-api-key", "anthropic-version"}
    assert (sent.headers["x-api-key"], sent.headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert (answer.agent_id, answer.message, answer.tokens_used) == (agent.id, "Good day.", 12)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 3)


async def test_any_conversation_is_one_that_anthropic_takes(edge: Bus, server: Upstream) -> None:
    await registered(edge, server, "anthropic", temperature=2)
    context = [
        ("assistant", "Hello, what can I do?"),
        ("system", "Be kind."),
        ("user", "One."),
        ("user", ""),
        ("user", "Two."),
        ("system", "Be brief."),
        ("assistant", " \n"),
        ("assistant", "Yes."),
        ("system", " "),
        ("user", "And"),
    ]

    answer = await dispatch(edge, "so on.", context=[{"role": role, "content": text} for role, text in context])

    assert answer.message == "Good day."
    assert server.chats[0].json == {
        "model": "m",
        "system": "Be kind.\n\nBe brief.",
        "messages": [
            {"role": "user", "content": "(The assistant begins.)"},
            {"role": "assistant", "content": "Hello, what can I do?"},
            {"role": "user", "content": "One.\n\nTwo."},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "And\n\nso on."},
        ],
        "max_tokens": 4096,
        "temperature": 1,
    }


@pytest.mark.parametrize(("context", "turns"), [([], 1), ([("user", "Hi"), ("assistant", "Yes?")], 3)])
async def test_a_blank_message_is_sent_and_refused_there(
    edge: Bus, server: Upstream, context: list[tuple[str, str]], turns: int
) -> None:
    await registered(edge, server, "anthropic")

    failure = await refusal(
        edge, message=" ", context=[{"role": role, "content": content} for role, content in context]
    )

    assert "refused the request: HTTP 400" in failure.detail
    assert len(server.chats[0].json["messages"]) == turns


async def test_a_model_that_takes_no_temperature_is_asked_without_it_from_then_on(edge: Bus, server: Upstream) -> None:
    server.anthropic.thinks = True
    agent = await registered(edge, server, "anthropic")

    answers = [(await dispatch(edge)).message for _ in range(3)]

    assert answers == ["Good day."] * 3
    assert ["temperature" in chat.json for chat in server.chats] == [True, False, False, False]
    assert (await look(edge, agent.id)).health.error_count == 0


async def test_another_model_of_the_agent_is_asked_with_everything_again(edge: Bus, server: Upstream) -> None:
    server.anthropic.thinks, server.anthropic.models = True, ["m", "n"]
    agent = await registered(edge, server, "anthropic")
    await dispatch(edge)
    server.anthropic.thinks = False

    await edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=AgentChanges(model="n")), by())
    await dispatch(edge)

    assert [(chat.json["model"], "temperature" in chat.json) for chat in server.chats] == [
        ("m", True),
        ("m", False),
        ("n", True),
    ]


async def test_an_openai_model_that_thinks_is_asked_as_it_wants(edge: Bus, server: Upstream) -> None:
    agent = await registered(edge, server, "openai", max_tokens=77)

    def unsupported(param: str, message: str) -> Reply:
        error = {"message": message, "type": "invalid_request_error", "param": param, "code": "unsupported_parameter"}
        return json_answer(400, {"error": error})

    async def thinks(writer: Any) -> None:
        wish = server.chats[-1].json
        answer = json_reply(upstreams.OPENAI_ANSWER)
        if "temperature" in wish:
            answer = unsupported("temperature", "Unsupported value: only the default (1) is supported.")
        elif "max_tokens" in wish:
            answer = unsupported("max_tokens", "Use 'max_completion_tokens' instead.")
        await answer(writer)

    server.chat = thinks
    answers = [(await dispatch(edge)).agent_id for _ in range(2)]

    assert answers == [agent.id] * 2
    messages = [{"role": "user", "content": "Hello"}]
    assert [chat.json for chat in server.chats[2:]] == [
        {"model": "m", "messages": messages, "max_completion_tokens": 77}
    ] * 2


@pytest.mark.parametrize(
    "error",
    [
        {"message": "temperature: Input should be less than or equal to 1", "param": "temperature"},
        {"message": "max_tokens is too large: 4096. This model supports at most 1024", "param": "max_tokens"},
        {"message": "tools are not supported"},
        {"message": None},
        {},
        "temperature is not supported",
        None,
    ],
)
async def test_another_refusal_is_not_tried_again(edge: Bus, server: Upstream, error: object) -> None:
    await registered(edge, server, "openai")
    server.chat = json_answer(400, {"error": error})

    failure = await refusal(edge)

    assert "HTTP 400" in failure.detail
    assert len(server.chats) == 1


@pytest.mark.parametrize("status", [401, 429, 500, 529])
async def test_only_a_bad_request_is_tried_again(edge: Bus, server: Upstream, status: int) -> None:
    await registered(edge, server, "openai")
    server.chat = json_answer(status, {"error": {"message": "temperature is not supported"}})

    failure = await refusal(edge)

    assert f"HTTP {status}" in failure.detail
    assert len(server.chats) == 1


async def test_a_server_that_refuses_for_ever_is_asked_once_more_and_then_once(edge: Bus, server: Upstream) -> None:
    await registered(edge, server, "openai")
    server.chat = json_answer(400, {"error": {"message": "temperature and max_tokens are not supported"}})

    counts = []
    for _ in range(2):
        await refusal(edge)
        counts.append(len(server.chats))

    assert counts == [2, 3]


ERRORS = [
    (400, "invalid_request_error", "something about the conversation"),
    (401, "authentication_error", "does not accept its API key"),
    (402, "billing_error", "wants to be paid"),
    (403, "permission_error", "does not accept its API key"),
    (404, "not_found_error", "does not know the model"),
    (413, "request_too_large", "too large"),
    (418, "teapot", "HTTP 418."),
    (429, "rate_limit_error", "too many requests"),
    (500, "api_error", "HTTP 500."),
    (504, "timeout_error", "HTTP 504."),
    (529, "overloaded_error", "overloaded"),
]


@pytest.mark.asvs("16.2.5", "16.5.1")
@pytest.mark.parametrize("type", ["anthropic", "custom", "openai"])
@pytest.mark.parametrize(("status", "kind", "words"), ERRORS)
async def test_an_error_is_told_in_words_with_its_status_and_quoted_only_where_the_caller_can_mend_it(
    edge: Bus, server: Upstream, audit: AuditLog, *, type: str, status: int, kind: str, words: str
) -> None:
    agent = await registered(edge, server, type)
    server.chat = json_answer(status, {"type": "error", "error": {"type": kind, "message": CANARY}})

    failure = await refusal(edge)

    assert (failure.code, failure.reason) == (ErrorCode.BAD_GATEWAY, "agent-failed")
    assert f"HTTP {status}" in failure.detail
    assert words in failure.detail
    assert (f'it says "{CANARY}"' in failure.detail) is (status in (400, 413))
    (entry,) = audit.outcomes("agent.request")
    assert (entry.outcome, CANARY in repr(entry)) == (Outcome.FAILURE, False)
    health = (await look(edge, agent.id)).health
    assert health.error_count == (0 if status < 500 else 1)
    assert CANARY not in health.details


def message(content: object, **fields: object) -> Reply:
    return json_reply({"type": "message", "role": "assistant", "content": content, **fields})


BAD_MESSAGES: dict[str, Reply] = {
    "an error": json_reply({"type": "error", "error": {"type": "api_error", "message": CANARY}}),
    "no content": json_reply({"type": "message"}),
    "null content": message(None),
    "a text": message("Good day."),
    "an object": message({"type": "text", "text": "x"}),
    "texts": message(["Good day."]),
    "null part": message([None]),
    "no text": message([{"type": "text"}]),
    "no type": message([{"text": "x"}]),
    "number": message([{"type": "text", "text": 7}]),
    "usage of words": message([{"type": "text", "text": "x"}], usage="many"),
    "OpenAI": json_reply(upstreams.OPENAI_ANSWER),
    "array": json_reply([]),
    "null": json_reply(None),
    "number alone": json_reply(7),
    "bad UTF-8": reply(b'{"content": [{"type": "text", "text": "\xff"}]}'),
    "half a character": reply(b'{"content": [{"type": "text", "text": "\\ud800"}]}'),
    "deep": reply(b"[" * 100_000),
    "HTML": reply(b"<html>Welcome</html>"),
    "empty": reply(b""),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
async def test_an_answer_that_is_no_message_is_a_failed_agent(edge: Bus, server: Upstream, name: str) -> None:
    agent = await registered(edge, server, "anthropic")
    server.chat = BAD_MESSAGES[name]

    failure = await refusal(edge)

    assert failure.detail.startswith("Agent llama failed: its answer is not that of a model.")
    assert (await look(edge, agent.id)).health.error_count == 1


HUGE = 2**52 - 1


@pytest.mark.parametrize(
    ("usage", "prompt", "completion"),
    [
        (None, 0, 0),
        ({}, 0, 0),
        ({"input_tokens": 5}, 5, 0),
        ({"input_tokens": "5", "output_tokens": "7"}, 0, 0),
        ({"input_tokens": 5.0, "output_tokens": True}, 0, 0),
        ({"input_tokens": -5, "output_tokens": 7}, 0, 7),
        ({"input_tokens": 5, "cache_creation_input_tokens": None, "cache_read_input_tokens": 2}, 7, 0),
        ({"input_tokens": HUGE, "output_tokens": HUGE}, HUGE, HUGE),
        ({"input_tokens": HUGE, "cache_read_input_tokens": 1, "output_tokens": HUGE + 1}, 0, 0),
        ({"input_tokens": 10**30}, 0, 0),
    ],
)
async def test_tokens_count_as_anthropic_tells_them(
    edge: Bus, server: Upstream, usage: object, prompt: int, completion: int
) -> None:
    await registered(edge, server, "anthropic")
    server.chat = message([{"type": "text", "text": "x"}], usage=usage)

    answer = await dispatch(edge)

    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (prompt, completion)
    assert answer.tokens_used == prompt + completion


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([], ""),
        ([{"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "text", "text": "Yes."}], "Yes."),
        ([{"type": "redacted_thinking", "data": "x"}, {"type": "tool_use", "id": "t", "name": "n", "input": {}}], ""),
        ([{"type": "text", "text": "Grüß "}, {"type": "text", "text": "Gott 👋"}], "Grüß Gott 👋"),
    ],
)
async def test_the_texts_of_a_message_are_its_answer(
    edge: Bus, server: Upstream, content: list[object], text: str
) -> None:
    await registered(edge, server, "anthropic")
    server.chat = message(content, stop_reason="end_turn")

    assert (await dispatch(edge)).message == text


def openai(content: object, **choice: object) -> Reply:
    return json_reply({"choices": [{"message": {"role": "assistant", "content": content}, **choice}]})


def ollama(content: object, **fields: object) -> Reply:
    return json_reply({"message": {"role": "assistant", "content": content}, "done": True, **fields})


THOUGHT = [{"type": "thinking", "thinking": "Hm …", "signature": "x"}]


@pytest.mark.parametrize(
    ("type", "answer"),
    [
        ("anthropic", message(THOUGHT, stop_reason="max_tokens")),
        ("openai", openai("", finish_reason="length")),
        ("openai", openai(None, finish_reason="length")),
        ("ollama", json_reply({"message": {"content": "", "thinking": "Hm …"}, "done": True, "done_reason": "length"})),
    ],
)
async def test_tokens_used_up_before_a_word_was_said_are_told_and_not_held_against_the_agent(
    edge: Bus, server: Upstream, type: str, answer: Reply
) -> None:
    agent = await registered(edge, server, type)
    server.chat = answer

    failure = await refusal(edge)

    assert (failure.code, failure.reason) == (ErrorCode.BAD_GATEWAY, "agent-failed")
    assert "maxTokens were used up" in failure.detail
    assert (await look(edge, agent.id)).health.error_count == 0


@pytest.mark.parametrize(
    ("type", "answer", "text"),
    [
        ("openai", openai("Half an", finish_reason="length"), "Half an"),
        ("openai", openai("", finish_reason="stop"), ""),
        ("openai", openai([{"type": "thinking", "thinking": []}, {"type": "text", "text": "Yes."}]), "Yes."),
        ("ollama", ollama("Half an", done_reason="length"), "Half an"),
        ("ollama", ollama("", done_reason="stop"), ""),
        ("ollama", json_reply({"message": {"content": "Yes.", "thinking": "Hm …"}}), "Yes."),
    ],
)
async def test_what_was_said_is_the_answer_without_what_was_thought(
    edge: Bus, server: Upstream, type: str, answer: Reply, text: str
) -> None:
    await registered(edge, server, type)
    server.chat = answer

    assert (await dispatch(edge)).message == text


@pytest.mark.parametrize(
    "answer", [ollama("", done_reason="load"), ollama("", done_reason="unload"), ollama("Half", done=False)]
)
async def test_an_ollama_that_has_not_answered_has_failed(edge: Bus, server: Upstream, answer: Reply) -> None:
    await registered(edge, server, "ollama")
    server.chat = answer

    assert (await refusal(edge)).detail.startswith("Agent llama failed: its answer is not that of a model.")


async def test_the_model_is_looked_for_on_every_page(edge: Bus, server: Upstream) -> None:
    server.anthropic.models = [f"other-{number} &/?" for number in range(5)] + ["m"]
    server.anthropic.page_size = 2

    agent = await registered(edge, server, "anthropic")

    assert (agent.health.status, agent.health.details) == ("online", "Answers.")
    assert [probe.line.split()[1] for probe in server.probes] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=other-1%20%26%2F%3F",
        "/v1/models?limit=1000&after_id=other-3%20%26%2F%3F",
    ]


@pytest.mark.parametrize(
    ("models", "details"),
    [
        (["m-20260101"], "Answers."),
        (["m-2026"], "Answers, but does not list the model m."),
        ([], "Answers, but does not list the model m."),
    ],
)
async def test_a_model_without_its_date_is_the_same_model(
    edge: Bus, server: Upstream, models: list[str], details: str
) -> None:
    server.anthropic.models = models

    assert (await registered(edge, server, "anthropic")).health.details == details


async def test_pages_without_end_are_left(edge: Bus, server: Upstream) -> None:
    server.probe = json_reply({"data": [{"id": "x"}], "has_more": True, "last_id": "x\r\nHost: evil"})

    agent = await registered(edge, server, "anthropic")

    assert agent.health.details == "Answers, but does not list the model m."
    assert len(server.probes) == 10


NO_LIST = "Answers, but not with a list of models."
PROBES: list[tuple[Reply, str, str]] = [
    (json_answer(404, {}), "online", "Answers, but does not tell its models (HTTP 404)."),
    (json_answer(405, {}), "online", "Answers, but does not tell its models (HTTP 405)."),
    (json_answer(429, {}), "online", "Answers, but does not tell its models (HTTP 429)."),
    (json_reply([]), "online", NO_LIST),
    (reply(b"<html>"), "online", NO_LIST),
    (json_reply({"data": [{"id": "x"}], "has_more": True, "last_id": 7}), "online", "Answers, but "),
    (json_reply({"data": []}), "online", "Answers, but does not list the model m."),
    (json_answer(401, {}), "offline", "Does not answer a probe: HTTP 401, so it does not accept its API key"),
    (json_answer(403, {}), "offline", "Does not answer a probe: HTTP 403, so it does not accept its API key"),
    (redirect("http://127.0.0.1:9/"), "offline", "Does not answer a probe: HTTP 302"),
    (json_answer(500, {}), "offline", "Does not answer a probe: HTTP 500."),
    (json_answer(529, {}), "offline", "Does not answer a probe: HTTP 529, so it is overloaded"),
    (upstreams.no_http, "offline", "Does not answer a probe: the connection broke"),
    (upstreams.one_gigabyte, "offline", "Does not answer a probe: its answer is larger than 4 MiB"),
]


@pytest.mark.parametrize("type", ["anthropic", "custom"])
@pytest.mark.parametrize(("probe", "status", "details"), PROBES)
async def test_servers_that_need_not_tell_their_models_are_there_if_they_answer(
    edge: Bus, server: Upstream, *, type: str, probe: Reply, status: str, details: str
) -> None:
    server.probe = probe

    agent = await registered(edge, server, type)

    assert agent.health.status == status
    assert agent.health.details.startswith(details)


async def test_an_openai_agent_without_models_is_not_there(edge: Bus, server: Upstream) -> None:
    server.probe = json_answer(404, {})

    agent = await registered(edge, server, "openai")

    assert agent.health.status == "offline"
    assert "HTTP 404, so its endpoint's path is wrong" in agent.health.details


async def test_a_custom_agent_is_reached_under_its_own_base_path(edge: Bus, server: Upstream) -> None:
    agent = await registered(edge, server, "custom", api_key="sk-canary", max_tokens=77, temperature=1.5)

    answer = await dispatch(edge, "Hi")

    assert (agent.health.details, answer.message, answer.tokens_used) == ("Answers.", "Good day.", 12)
    assert [request.line for request in server.requests] == [
        "GET /some/base/models HTTP/1.1",
        "POST /some/base/chat/completions HTTP/1.1",
    ]
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer sk-canary"}
    assert server.chats[0].json == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 77,
        "temperature": 1.5,
    }


@pytest.mark.parametrize("type", ["openai", "custom"])
async def test_a_base_path_is_used_as_it_was_checked(edge: Bus, server: Upstream, type: str) -> None:
    agent = await registered(edge, server, type, endpoint=f"{server.address}/a/%2e%2e/./some/x/../base//")

    assert (agent.endpoint, agent.health.details) == (f"{server.address}/some/base", "Answers.")
    assert server.requests[0].line == "GET /some/base/models HTTP/1.1"


async def test_kilo_is_registered_and_told_to_be_unavailable(edge: Bus, audit: AuditLog) -> None:
    agent = await registered_kilo(edge, priority=10)
    audit.entries.clear()

    failure = await refusal(edge, agent_id=agent.id)

    assert (agent.endpoint, agent.has_api_key, agent.health.status) == (None, False, "offline")
    assert "kilo-bridge, which this version does not have" in agent.health.details
    assert (failure.code, failure.reason) == (ErrorCode.UNAVAILABLE, "kilo-unavailable")
    assert failure.retry_after
    assert "kilo-bridge" in failure.detail
    (entry,) = audit.outcomes("agent.request")
    assert (entry.outcome, entry.details["reason"]) == (Outcome.FAILURE, "kilo-unavailable")
    assert (await look(edge, agent.id)).health.request_count == 0


async def test_kilo_takes_no_work_from_others(edge: Bus) -> None:
    agent = await registered_kilo(edge, priority=10, weight=100)
    await check(edge, agent)

    models = {(await dispatch(edge)).model for _ in range(6)}
    await remove_built_in(edge)
    nobody = await refusal(edge)

    assert models == {"echo"}
    assert (nobody.code, nobody.reason) == (ErrorCode.UNAVAILABLE, "no-healthy-agents")


@pytest.mark.asvs("2.2.3")
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"type": "kilo", "endpoint": "https://api.kilo.ai"}, "endpoint"),
        ({"type": "kilo", "api_key": CANARY}, "apiKey"),
        ({"type": "bus", "endpoint": "https://example.org"}, "endpoint"),
        ({"type": "bus", "api_key": CANARY}, "apiKey"),
        ({"type": "echo", "api_key": CANARY}, "apiKey"),
        ({"type": "anthropic"}, "endpoint"),
        ({"type": "custom"}, "endpoint"),
        ({"type": "anthropic", "endpoint": "https://api.anthropic.com/v1/"}, "endpoint"),
        ({"type": "anthropic", "endpoint": "https://api.anthropic.com/v1/messages"}, "endpoint"),
        ({"type": "custom", "endpoint": "https://host.example/base/chat/completions"}, "endpoint"),
        ({"type": "custom", "endpoint": "https://host.example/base?x=1"}, "endpoint"),
        ({"type": "custom", "endpoint": "https://host.example/base#x"}, "endpoint"),
        ({"type": "custom", "endpoint": "https://host.example/base%2f..%2fadmin"}, "endpoint"),
        ({"type": "custom", "endpoint": "https://host.example//other.example/base"}, "endpoint"),
        ({"type": "custom", "endpoint": "http://127.0.0.1:4222/base"}, "endpoint"),
        ({"type": "anthropic", "endpoint": "http://169.254.169.254"}, "endpoint"),
    ],
)
async def test_what_does_not_fit_the_type_is_refused_and_nobody_is_asked(
    edge: Bus, audit: AuditLog, fields: dict[str, object], path: str
) -> None:
    wish = RegisterAgent.model_validate({"name": "bad", "model": "m", **fields})

    with pytest.raises(PlatformError) as failure:
        await edge.call(REGISTER_AGENT, wish, by())

    assert (failure.value.code, failure.value.errors[0].path) == (ErrorCode.INVALID, path)
    assert CANARY not in repr(failure.value)
    assert audit.entries == []


async def test_kilo_gets_neither_endpoint_nor_key_later(edge: Bus) -> None:
    agent = await registered_kilo(edge)

    paths = []
    for changes in ({"endpoint": "https://api.kilo.ai"}, {"api_key": CANARY}):
        with pytest.raises(PlatformError) as failure:
            await edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=AgentChanges.model_validate(changes)), by())
        paths.append((failure.value.code, failure.value.errors[0].path))
    removed = await edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=AgentChanges(api_key=None)), by())

    assert paths == [(ErrorCode.INVALID, "endpoint"), (ErrorCode.INVALID, "apiKey")]
    assert not removed.has_api_key


@pytest.mark.asvs("8.2.3")
async def test_an_anthropic_key_goes_into_its_header_only_and_stays_where_it_was_given_for(
    edge: Bus, server: Upstream
) -> None:
    agent = await registered(edge, server, "anthropic")
    there = f"http://localhost:{server.port}"
    asked = len(server.requests)

    moved = await edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=AgentChanges(endpoint=there)), by())

    assert (moved.has_api_key, moved.health.status) == (False, "offline")
    assert all("x-api-key" not in request.headers for request in server.requests[asked:])
    assert all("authorization" not in request.headers for request in server.requests)


@pytest.mark.parametrize("type", ["anthropic", "custom", "kilo"])
async def test_agents_are_listed_by_their_type(edge: Bus, server: Upstream, type: str) -> None:
    await registered(edge, server, "anthropic")
    await registered(edge, server, "custom", name="own")
    await registered_kilo(edge)

    page = await edge.call(LIST_AGENTS, ListAgents.model_validate({"type": type}), by(Role.VIEWER))

    assert [agent.type for agent in page.items] == [type]
