"""The Messages API's dialect: any conversation becomes one that it takes."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.application.upstreams import UpstreamFailure, UpstreamRefusal
from orchestrator.domain.chat import Chat
from orchestrator.infrastructure.dialects.anthropic import ONLY_JSON, Anthropic
from orchestrator.infrastructure.dialects.anthropic_conversation import OPENING
from tests.unit.orchestrator.agents import agent
from tests.unit.orchestrator.infrastructure.dialects.chats import TOOL, WITH_TOOLS, answer_of, chat, read, sent

TEXTS = st.sampled_from(["", " ", "\n\t", "a", "b c", "é"])
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=12)


@given(TURNS)
def test_turns_alternate_from_the_user_to_the_user_and_nothing_said_is_lost(turns: list[tuple[str, str]]) -> None:
    messages = [{"role": role, "content": content} for role, content in [*turns, ("user", "last")]]

    body = orjson.loads(Anthropic().request(agent("a"), Chat(messages=messages), (), streams=False))

    sent = body["messages"]
    assert (sent[0]["role"], sent[-1]["role"]) == ("user", "user")
    assert all(one["role"] != other["role"] for one, other in pairwise(sent))
    assert all(turn["content"].strip() for turn in sent)
    for role in ("user", "assistant"):
        said = [turn["content"] for turn in messages if turn["role"] == role and turn["content"].strip()]
        told = [turn["content"] for turn in sent if turn["role"] == role and turn["content"] != OPENING]
        assert "\n\n".join(told) == "\n\n".join(said)
    system = [turn["content"] for turn in messages if turn["role"] == "system" and turn["content"].strip()]
    assert body.get("system") == ("\n\n".join(system) or None)


@pytest.mark.parametrize(("temperature", "sent"), [(0, 0), (0.3, 0.3), (1, 1), (1.01, 1), (2, 1)])
def test_a_temperature_is_at_most_one(temperature: float, sent: float) -> None:
    body = orjson.loads(Anthropic().request(agent("a", temperature=temperature), Chat(messages=[]), (), streams=False))

    assert body["temperature"] == sent


def test_messages_that_were_given_stay_as_they_are() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]

    Anthropic().request(agent("a"), Chat(messages=messages), (), streams=False)

    assert [message["content"] for message in messages] == ["a", "b"]


def test_without_a_key_only_the_version_is_told() -> None:
    assert Anthropic().headers(None) == [("anthropic-version", "2023-06-01")]


def test_a_conversation_with_tools_and_images_is_told_in_its_words() -> None:
    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    use = {"type": "tool_use", "name": "weather", "input": {"city": "Ulm"}}

    body = sent(Anthropic(), chat(*WITH_TOOLS, tools=[TOOL], tool_choice="required"))

    assert body == {
        "model": "m",
        "max_tokens": 77,
        "temperature": 0.5,
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "See:"}, {"type": "image", "source": image}]},
            {"role": "assistant", "content": [{**use, "id": "call_1"}, {**use, "id": "call_2"}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "Sunny."},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "Rainy."},
                    {"type": "text", "text": "Which?"},
                ],
            },
        ],
        "tools": [
            {
                "name": "weather",
                "description": "Tells the weather.",
                "input_schema": TOOL["function"]["parameters"],
            }
        ],
        "tool_choice": {"type": "any"},
    }


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"stop": "a"}, {"stop_sequences": ["a"]}),
        ({"stop": ["a", "b"], "top_k": 3}, {"stop_sequences": ["a", "b"], "top_k": 3}),
        ({"top_p": 0.1}, {"top_p": 0.1, "temperature": None}),
        ({"top_p": 0.1, "temperature": 0}, {"top_p": 0.1, "temperature": 0}),
        ({"temperature": 2, "max_completion_tokens": 5}, {"temperature": 1, "max_tokens": 5}),
        ({"response_format": {"type": "json_object"}}, {"system": ONLY_JSON}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        ),
        ({"response_format": {"type": "text"}}, {}),
        ({"reasoning_effort": "minimal"}, {"output_config": {"effort": "low"}}),
        ({"reasoning_effort": "none"}, {}),
        ({"tool_choice": "none"}, {}),
        ({"parallel_tool_calls": False}, {}),
        ({"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "seed": 7}, {}),
        ({"logprobs": False, "presence_penalty": 0, "logit_bias": {}, "modalities": ["text"], "tools": None}, {}),
    ],
)
def test_options_are_told_in_its_words(options: dict[str, Any], fields: dict[str, Any]) -> None:
    body = sent(Anthropic(), chat(**options))

    usual = {"model": "m", "max_tokens": 77, "temperature": 0.5, "messages": [{"role": "user", "content": "Hi"}]}
    assert body == {name: value for name, value in {**usual, **fields}.items() if value is not None}


@pytest.mark.parametrize(
    ("options", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, None),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": NAMED}, {"type": "tool", "name": "weather"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"parallel_tool_calls": False, "tool_choice": "required"}, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_which_tools_may_be_called_is_told_in_its_words(options: dict[str, Any], choice: dict[str, Any] | None) -> None:
    assert sent(Anthropic(), chat(tools=[TOOL], **options)).get("tool_choice") == choice


AUDIO = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (chat(logprobs=True), "no logprobs; leave it out"),
        (chat(presence_penalty=1), "no presence_penalty; leave it out"),
        (chat(tools=[TOOL], tool_choice={"type": "allowed_tools"}), "choose one of these"),
        (chat(tools=[{"type": "web_search"}]), "tools of type function only"),
        (chat(response_format={"type": "grammar"}), "no response_format of type 'grammar'"),
        (chat(AUDIO), "leave out what is of type 'input_audio'"),
        (
            chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/"}}]}),
            "https or a base64",
        ),
        (chat({"role": "function", "name": "f", "content": "x"}), "no messages of the role function"),
    ],
)
def test_what_it_cannot_be_asked_for_is_told_to_the_caller(wish: Chat, words: str) -> None:
    with pytest.raises(UpstreamRefusal, match=words) as refusal:
        sent(Anthropic(), wish)

    assert (refusal.value.is_free, refusal.value.is_callers) == (True, True)


def test_an_image_may_be_a_link() -> None:
    url = "https://example.org/a.png"

    body = sent(Anthropic(), chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}))

    assert body["messages"][0]["content"] == [{"type": "image", "source": {"type": "url", "url": url}}]


def test_an_answer_with_calls_is_openais() -> None:
    parts = [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "tool_use", "id": "t", "name": "weather", "input": {"a": 1}},
    ]

    completion = Anthropic().completion(
        orjson.dumps({"content": parts, "stop_reason": "tool_use", "usage": {"input_tokens": 2, "output_tokens": 3}}),
        chat(tools=[TOOL]),
    )

    call = {"id": "t", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert completion.choices == [{"index": 0, "message": message, "finish_reason": "tool_calls"}]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        (None, "stop"),
        ("model_context_window_exceeded", "length"),
    ],
)
def test_reasons_are_openais(reason: str | None, told: str) -> None:
    body = orjson.dumps({"content": [{"type": "text", "text": "x"}], "stop_reason": reason})

    assert Anthropic().completion(body, chat(user="u")).choices[0]["finish_reason"] == told


def event(type: str, **fields: Any) -> bytes:
    return f"event: {type}\ndata: ".encode() + orjson.dumps({"type": type, **fields}) + b"\n\n"


def block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        event("content_block_start", index=index, content_block=content),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


USAGE = {"input_tokens": 2, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 1}
END = event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 3})
STREAM = [
    event("message_start", message={"usage": USAGE}),
    event("ping"),
    *block(0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "Hm."}),
    *block(1, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in ("Grüß ", "Gott."))),
    *block(
        2,
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {}},
        *({"type": "input_json_delta", "partial_json": json} for json in ("", '{"city":', '"Ulm"}')),
    ),
    *block(3, {"type": "tool_use", "id": "t2", "name": "time", "input": {}}),
    event("not_thought_of_yet"),
    END,
    event("message_stop"),
]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_stream_is_read_wherever_it_is_cut(end: bytes) -> None:
    stream = b"".join(STREAM).replace(b"\n", end)

    for place in range(0, len(stream) + 1):
        steps, completion = read(Anthropic(), chat(tools=[TOOL]), stream[:place], stream[place:])

        calls = [
            {"id": "t1", "name": "weather", "arguments": '{"city":"Ulm"}'},
            {"id": "t2", "name": "time", "arguments": "{}"},
        ]
        assert answer_of(steps) == {"text": "Grüß Gott.", "calls": calls, "reason": "tool_calls"}
        assert (completion.text, completion.prompt_tokens, completion.completion_tokens) == ("Grüß Gott.", 9, 3)


def test_a_stream_that_ends_too_soon_has_failed() -> None:
    with pytest.raises(UpstreamFailure, match="before it was complete"):
        read(Anthropic(), chat(), *STREAM[:-2])


def test_an_error_in_a_stream_breaks_it_off() -> None:
    with pytest.raises(UpstreamFailure, match="broke off"):
        read(Anthropic(), chat(), *STREAM[:4], event("error", error={"type": "overloaded_error", "message": "canary"}))


@pytest.mark.parametrize(
    "wrong",
    [
        b"{",
        b"7",
        b"{}",
        b'{"type": "message_start"}',
        b'{"type": "content_block_delta", "index": 0, "delta": {}}',
        b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 7}}',
        b'{"type": "\xff"}',
    ],
)
def test_an_event_that_is_none_is_refused(wrong: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        read(Anthropic(), chat(), b"data: " + wrong + b"\n\n")
