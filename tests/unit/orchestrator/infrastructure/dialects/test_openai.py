"""OpenAI's dialect: what is asked and answered goes as it is."""

from typing import Any

import orjson
import pytest

from orchestrator.application.upstreams import UpstreamFailure, UpstreamRefusal
from orchestrator.domain.chat import Chat
from orchestrator.infrastructure.dialects.openai import OpenAi
from orchestrator.infrastructure.dialects.reading import MAX_TEXT
from tests.unit.orchestrator.infrastructure.dialects.chats import (
    CALL,
    TOOL,
    WITH_TOOLS,
    answer_of,
    chat,
    passed,
    read,
    sent,
)

HI = [{"role": "user", "content": "Hi"}]
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Good day."}, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [CHOICE],
    "usage": USAGE,
}
THROUGH = Chat(messages=HI, passes_through=True)


def event(*choices: Any, end: bytes = b"\n\n", **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"id": "c", "object": "chat.completion.chunk", "choices": choices, **fields}) + end


def step(content: str | None = None, reason: str | None = None, index: int = 0, **delta: Any) -> dict[str, Any]:
    told = delta if content is None else {"content": content, **delta}
    return {"index": index, "delta": told, "finish_reason": reason}


DONE = b"data: [DONE]\n\n"
STREAM = [
    event(step("", role="assistant")),
    event(step("Good ")),
    event(step("day.")),
    event(step(reason="stop")),
    event(usage=USAGE),
]


def test_options_go_as_they_are_but_what_the_agent_decides() -> None:
    wish = chat(*WITH_TOOLS, tools=[TOOL], tool_choice="required", stop=["a"], unheard_of={"x": 1}, model="other")

    assert sent(OpenAi(), wish) == {
        "model": "m",
        "messages": WITH_TOOLS,
        "max_tokens": 77,
        "temperature": 0.5,
        "tools": [TOOL],
        "tool_choice": "required",
        "stop": ["a"],
        "unheard_of": {"x": 1},
    }


@pytest.mark.parametrize(
    ("options", "refused", "limits"),
    [
        ({}, (), {"max_tokens": 77}),
        ({"max_tokens": 5}, (), {"max_tokens": 5}),
        ({"max_completion_tokens": 5}, (), {"max_tokens": 5}),
        ({"max_tokens": 100, "max_completion_tokens": 90}, (), {"max_tokens": 77}),
        ({"max_tokens": None}, (), {"max_tokens": 77}),
        ({"max_tokens": 5}, ("max_tokens",), {"max_completion_tokens": 5}),
    ],
)
def test_an_answer_is_never_longer_than_the_agent_may(
    options: dict[str, Any], refused: tuple[str, ...], limits: dict[str, int]
) -> None:
    body = sent(OpenAi(), chat(**options), *refused)

    assert {name: value for name, value in body.items() if name.startswith("max_")} == limits


@pytest.mark.parametrize(("options", "sent_one"), [({}, 0.5), ({"temperature": 2}, 2), ({"temperature": None}, 0.5)])
def test_the_callers_temperature_counts(options: dict[str, Any], sent_one: float) -> None:
    assert sent(OpenAi(), chat(**options))["temperature"] == sent_one
    assert "temperature" not in sent(OpenAi(), chat(**options), "temperature")


def test_several_answers_and_a_streams_usage_are_asked_for() -> None:
    wish = Chat(messages=HI, choices=3)

    streamed = sent(OpenAi(), wish, streams=True)

    assert (streamed["n"], streamed["stream"], streamed["stream_options"]) == (3, True, {"include_usage": True})
    assert "stream_options" not in sent(OpenAi(), wish, "stream_options", streams=True)
    assert sent(OpenAi(), wish).keys() == {"model", "messages", "max_tokens", "temperature", "n"}


def test_an_answer_for_openais_clients_is_passed_through_whole() -> None:
    body = orjson.dumps({**ANSWER, "system_fingerprint": "fp"})

    completion = OpenAi().completion(body, THROUGH)

    assert (completion.text, completion.prompt_tokens, completion.completion_tokens) == ("Good day.", 9, 3)
    assert completion.body is body
    assert completion.choices == [CHOICE]
    assert OpenAi().completion(body, chat(user="u")).body is None


@pytest.mark.parametrize("field", ["id", "object", "created", "model"])
def test_an_answer_that_lacks_what_clients_rely_on_is_not_passed_through(field: str) -> None:
    body = orjson.dumps({name: value for name, value in ANSWER.items() if name != field})

    completion = OpenAi().completion(body, THROUGH)

    assert (completion.body, completion.text) == (None, "Good day.")


def test_choices_are_openais_whoever_made_them() -> None:
    thought = {"role": "model", "content": None, "tool_calls": [CALL], "reasoning_content": "Hm."}
    parts = {"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Yes."}]}
    body = orjson.dumps({"choices": [{"message": thought, "finish_reason": "tool_calls"}, {"message": parts}]})

    completion = OpenAi().completion(body, chat(user="u"))

    assert completion.choices == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "tool_calls": [CALL]},
            "finish_reason": "tool_calls",
        },
        {"index": 1, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"},
    ]


@pytest.mark.parametrize("calls", [7, "no", {"id": "call:1"}, [7]])
def test_calls_of_tools_that_are_none_are_no_answer(calls: object) -> None:
    body = orjson.dumps({"choices": [{"message": {"content": "a", "tool_calls": calls}}]})

    with pytest.raises(TypeError):
        OpenAi().completion(body, THROUGH)


@pytest.mark.parametrize("wish", [THROUGH, chat(user="u")])
def test_more_choices_than_anybody_asks_for_are_no_answer(wish: Chat) -> None:
    with pytest.raises(ValueError, match="too many choices"):
        OpenAi().completion(orjson.dumps({**ANSWER, "choices": [CHOICE] * 17}), wish)


@pytest.mark.parametrize(
    ("reason", "told"),
    [(None, "stop"), ("eos", "stop"), ("model_length", "length"), ("content_filter", "content_filter")],
)
def test_reasons_are_openais(reason: object, told: str) -> None:
    body = orjson.dumps({"choices": [{**CHOICE, "finish_reason": reason}]})

    assert OpenAi().completion(body, chat(user="u")).choices[0]["finish_reason"] == told


def test_only_a_dispatch_needs_a_text() -> None:
    body = orjson.dumps({**ANSWER, "choices": [{"message": {"content": ""}, "finish_reason": "length"}]})

    with pytest.raises(UpstreamRefusal, match="used up"):
        OpenAi().completion(body, Chat(messages=HI))
    assert OpenAi().completion(body, THROUGH).body is body


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_events_are_passed_through_as_they_came_wherever_they_are_cut(end: bytes) -> None:
    events = [each.replace(b"\n\n", end) for each in STREAM]
    stream = b": hello" + end + b"".join(events) + DONE

    for place in range(len(stream) + 1):
        whole, completion = passed(OpenAi(), THROUGH, stream[:place], stream[place:])

        assert whole.strip(b"\n") == b"".join(events[:-1]).strip(b"\n")  # a line's end may be cut, too
        assert (completion.prompt_tokens, completion.completion_tokens, completion.text) == (9, 3, "")


def test_the_event_with_the_tokens_is_for_those_who_asked() -> None:
    wish = Chat(messages=HI, passes_through=True, wants_usage=True)

    assert passed(OpenAi(), wish, b"".join(STREAM), DONE)[0] == b"".join(STREAM)


def test_an_event_without_choices_that_tells_no_tokens_passes() -> None:
    stream = [event(prompt_filter_results=[]), *STREAM[:-1]]

    whole, completion = passed(OpenAi(), THROUGH, *stream, DONE)

    assert whole == b"".join(stream)
    assert (completion.prompt_tokens, completion.completion_tokens) == (0, 2)


@pytest.mark.parametrize("usage", [{"prompt_tokens": 9, "completion_tokens": 0}, {"completion_tokens": -3}, {"x": 1}])
def test_a_stream_with_content_has_tokens_whatever_is_told(usage: dict[str, int]) -> None:
    stream = [event(step("Good ")), event(step("day. " * 900)), event(step(reason="stop")), event(usage=usage), DONE]

    completion = passed(OpenAi(), THROUGH, *stream)[1]

    assert 900 < completion.completion_tokens < 1200


def test_what_was_thought_passes_only_as_bytes() -> None:
    thought = event(step(reasoning_content="Hm."))

    assert thought in passed(OpenAi(), THROUGH, thought, *STREAM, DONE)[0]
    steps, completion = read(OpenAi(), chat(user="u"), thought, *STREAM, DONE)
    assert completion.text == "Good day."
    assert all("reasoning_content" not in step.delta for step in steps)


def test_steps_are_read_wherever_the_stream_is_cut() -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": "{}"}}
    events = [
        event(step("Grüß ")),
        event(step(tool_calls=[first])),
        event(step(tool_calls=[more], reason="tool_calls")),
    ]
    stream = b"".join(events) + event(usage=USAGE) + DONE

    for place in range(len(stream) + 1):
        steps, completion = read(OpenAi(), chat(user="u"), stream[:place], stream[place:])

        calls = [{"id": "c1", "name": "weather", "arguments": "{}"}]
        assert answer_of(steps) == {"text": "Grüß ", "calls": calls, "reason": "tool_calls"}
        assert (completion.text, completion.prompt_tokens, completion.completion_tokens) == ("Grüß ", 9, 3)


def test_a_stream_may_end_without_done_but_not_before_the_answer_has() -> None:
    assert passed(OpenAi(), THROUGH, *STREAM[:4])[0] == b"".join(STREAM[:4])
    for stream in (STREAM[:3], [], [event(step("a", index=1)), *STREAM[:4]], [DONE]):
        with pytest.raises(UpstreamFailure, match="before it was complete"):
            passed(OpenAi(), THROUGH, *stream)


def test_what_follows_the_end_is_left() -> None:
    whole, _ = passed(OpenAi(), THROUGH, *STREAM[:4], DONE + b"data: nonsense\n\n", b"data: more\n\n")

    assert whole == b"".join(STREAM[:4])


@pytest.mark.parametrize("wish", [THROUGH, chat(user="u")])
def test_an_error_instead_of_an_event_breaks_the_answer_off(wish: Chat) -> None:
    reading = OpenAi().reading(wish)

    with pytest.raises(UpstreamFailure, match="broke off its answer with an error"):
        reading.feed(b'data: {"error": {"message": "canary"}}\n\n')


@pytest.mark.parametrize("wish", [THROUGH, chat(user="u")])
@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"7",
        b"null",
        b"{}",
        b'{"choices": 7}',
        b'{"choices": [7]}',
        b'"\xff"',
        b'{"choices": [{"delta": 7}]}',
        b'{"choices": [{"index": []}]}',
        b"[" * 100000,
        b'{"choices": [], "usage": 7}',
        b'{"choices": [' + b"{}," * 16 + b"{}]}",
    ],
)
def test_an_event_that_is_none_is_refused(wish: Chat, data: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        OpenAi().reading(wish).feed(b"data: " + data + b"\n\n")


def test_a_streamed_dispatch_needs_a_text_too() -> None:
    stream = [event(step(reasoning_content="Hm.")), event(step(reason="length")), DONE]

    with pytest.raises(UpstreamRefusal, match="used up"):
        read(OpenAi(), Chat(messages=HI), *stream)
    assert read(OpenAi(), chat(user="u"), *stream)[1].text == ""


@pytest.mark.parametrize("character", ["x", "€"])
def test_a_text_that_never_ends_is_left(character: str) -> None:
    reading = OpenAi().reading(chat(user="u"))
    for _ in range(MAX_TEXT // 100_000):
        reading.feed(event(step(character * (100_000 // len(character.encode())))))

    with pytest.raises(UpstreamFailure, match="longer than 4 MiB"):
        reading.feed(event(step(character * (100_000 // len(character.encode())))))
