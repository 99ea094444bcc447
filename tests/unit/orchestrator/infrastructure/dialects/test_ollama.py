"""Ollama's dialect: OpenAI's words become its own, and back."""

from functools import partial
from typing import Any

import orjson
import pytest

from orchestrator.application.upstreams import UpstreamFailure, UpstreamRefusal
from orchestrator.domain.chat import Chat
from orchestrator.infrastructure.dialects.ollama import Ollama
from tests.unit.orchestrator.infrastructure.dialects.chats import CALL, TOOL, WITH_TOOLS, answer_of, chat, read, sent

CALLED = {"function": {"name": "weather", "arguments": {"city": "Ulm"}}}
END = {"done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 3}


def line(content: str, *, done: bool = False, **message: Any) -> bytes:
    end = END if done else {"done": False}
    return orjson.dumps({"model": "m", "message": {"role": "assistant", "content": content, **message}, **end}) + b"\n"


def test_a_conversation_with_tools_and_images_is_told_in_its_words() -> None:
    assert sent(Ollama(), chat(*WITH_TOOLS, tools=[TOOL], parallel_tool_calls=False)) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "See:", "images": ["iVBORw0KGgo="]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "call:1", **CALLED}, {"id": "call:2", **CALLED}],
            },
            {"role": "tool", "content": "Sunny.", "tool_call_id": "call:1", "tool_name": "weather"},
            {"role": "tool", "content": "Rainy.", "tool_call_id": "call:2", "tool_name": "weather"},
            {"role": "user", "content": "Which?"},
        ],
        "tools": [TOOL],
        "stream": False,
        "options": {"temperature": 0.5, "num_predict": 77},
    }


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ({"stop": "a"}, {"options": {"stop": ["a"]}}),
        ({"stop": ["a", "b"]}, {"options": {"stop": ["a", "b"]}}),
        ({"top_p": 0, "seed": 7, "top_k": 3}, {"options": {"top_p": 0, "seed": 7, "top_k": 3}}),
        (
            {"frequency_penalty": 1, "presence_penalty": -1},
            {"options": {"frequency_penalty": 1, "presence_penalty": -1}},
        ),
        ({"temperature": 2, "max_tokens": 5}, {"options": {"temperature": 2, "num_predict": 5}}),
        ({"response_format": {"type": "json_object"}}, {"format": "json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            {"format": SCHEMA},
        ),
        ({"response_format": {"type": "text"}}, {}),
        ({"tools": [TOOL], "tool_choice": "auto"}, {"tools": [TOOL]}),
        ({"tools": [TOOL], "tool_choice": "none"}, {}),
        ({"reasoning_effort": "none"}, {"think": False}),
        ({"reasoning_effort": "minimal"}, {"think": "low"}),
        ({"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "parallel_tool_calls": True}, {}),
        ({"logprobs": False, "logit_bias": {}, "modalities": ["text"], "tools": None}, {}),
    ],
)
def test_options_are_told_in_its_words(options: dict[str, Any], fields: dict[str, Any]) -> None:
    body = sent(Ollama(), chat(**options))

    usual = {"temperature": 0.5, "num_predict": 77}
    assert body["options"] == {**usual, **fields.pop("options", {})}
    assert {name: body[name] for name in body.keys() - {"model", "messages", "stream", "options"}} == fields


AUDIO = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}
LINK = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (chat(logprobs=True), "no logprobs; leave it out"),
        (chat(unheard_of=1), "no unheard_of; leave it out"),
        (chat(modalities=["text", "audio"]), "no modalities"),
        (chat(tools=[TOOL], tool_choice="required"), "leave tool_choice out"),
        (chat(tools=[{"type": "web_search"}]), "tools of type function only"),
        (chat(response_format={"type": "grammar"}), "no response_format of type 'grammar'"),
        (chat(AUDIO), "leave out what is of type 'input_audio'"),
        (chat(LINK), "base64 data: URL only"),
        (chat({"role": "function", "name": "f", "content": "x"}), "no messages of the role function"),
    ],
)
def test_what_it_cannot_be_asked_for_is_told_to_the_caller(wish: Chat, words: str) -> None:
    with pytest.raises(UpstreamRefusal, match=words) as refusal:
        sent(Ollama(), wish)

    assert (refusal.value.is_free, refusal.value.is_callers) == (True, True)


def test_an_answer_with_calls_is_openais() -> None:
    body = orjson.dumps({"message": {"content": "", "thinking": "Hm.", "tool_calls": [CALLED]}, **END})

    completion = Ollama(lambda: "call_7").completion(body, chat(tools=[TOOL]))

    assert completion.choices == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": "call_7"}]},
            "finish_reason": "tool_calls",
        }
    ]
    assert (completion.prompt_tokens, completion.completion_tokens) == (9, 3)


def test_ids_of_calls_are_made_where_there_are_none() -> None:
    body = orjson.dumps({"message": {"content": "", "tool_calls": [CALLED, {"id": "x", **CALLED}]}, **END})

    first, second = Ollama().completion(body, chat(tools=[TOOL])).choices[0]["message"]["tool_calls"]

    assert first["id"].startswith("call_")
    assert (len(first["id"]), second["id"]) == (29, "x")


def test_a_stream_is_read_wherever_it_is_cut() -> None:
    lines = [line("", thinking="Hm."), line("Grüß "), line("Gott."), line("", tool_calls=[CALLED, CALLED])]
    stream = b"".join(lines) + line("", done=True)

    for place in range(len(stream) + 1):
        steps, completion = read(Ollama(partial(next, iter("ab"))), chat(tools=[TOOL]), stream[:place], stream[place:])

        calls = [{"id": id, "name": "weather", "arguments": '{"city":"Ulm"}'} for id in "ab"]
        assert answer_of(steps) == {"text": "Grüß Gott.", "calls": calls, "reason": "tool_calls"}
        assert (completion.text, completion.prompt_tokens, completion.completion_tokens) == ("Grüß Gott.", 9, 3)


def test_an_answer_in_one_line_is_a_stream_too() -> None:
    steps, completion = read(Ollama(), chat(user="u"), line("Good day.", done=True).strip())

    assert (answer_of(steps)["text"], answer_of(steps)["reason"], completion.completion_tokens) == (
        "Good day.",
        "stop",
        3,
    )


def test_a_stream_that_ends_too_soon_has_failed() -> None:
    with pytest.raises(UpstreamFailure, match="before it was complete"):
        read(Ollama(), chat(), line("Good "))


def test_an_error_in_a_stream_breaks_it_off() -> None:
    with pytest.raises(UpstreamFailure, match="broke off"):
        read(Ollama(), chat(), line("Good "), b'{"error": "canary"}\n')


@pytest.mark.parametrize(
    "wrong",
    [
        b"{\n",
        b"7\n",
        b"{}\n",
        b'{"message": 7}\n',
        b'{"message": {"content": 7}}\n',
        b'{"message": {"content": "\xff"}}\n',
        b'{"message": {"tool_calls": [{"function": {"name": "a", "arguments": "{}"}}]}}\n',
        b"data: {}\n",
    ],
)
def test_a_line_that_is_none_is_refused(wrong: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        read(Ollama(), chat(), wrong)
