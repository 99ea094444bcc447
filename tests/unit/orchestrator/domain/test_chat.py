"""Chats: what they cost at most, and what of them is text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.budget import likely_tokens
from orchestrator.domain.chat import Chat, Completion, Delta, Inputs, likely_tokens_of

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def said(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in texts]


@given(texts=st.lists(st.text(max_size=50), min_size=1, max_size=10), max_tokens=st.integers(1, 1000))
def test_the_upper_bound_is_above_every_estimate(texts: list[str], max_tokens: int) -> None:
    assert Chat(messages=said(*texts)).most_tokens(max_tokens) >= likely_tokens(texts) + max_tokens


def test_each_message_costs_its_bytes_and_its_frame() -> None:
    assert Chat(messages=said("ä", "b")).most_tokens(10) == 2 + 16 + 1 + 16 + 10


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("asked", "counts"), [(3, 3), (500, 100), (None, 100)])
def test_an_answer_is_as_long_as_is_asked_for_and_the_agent_may(name: str, asked: int | None, counts: int) -> None:
    chat = Chat(messages=said("Hello"), options={name: asked})

    assert chat.token_limit(100) == counts
    assert chat.most_tokens(100) == Chat(messages=said("Hello"), options={"user": "u"}).most_tokens(counts)


def test_each_wanted_choice_costs_the_whole() -> None:
    one = Chat(messages=said("Hello"))
    three = Chat(messages=said("Hello"), choices=3)

    assert three.most_tokens(10) == 3 * one.most_tokens(10)


@pytest.mark.parametrize("name", ["tools", "response_format"])
def test_what_the_model_is_told_beside_the_messages_costs_too(name: str) -> None:
    plain = Chat(messages=said("Hello"))
    more = Chat(messages=said("Hello"), options={name: [TOOL]})

    assert more.most_tokens(10) > plain.most_tokens(10) + len(str(TOOL)) / 2


def test_a_picture_costs_more_than_its_address_is_long() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    chat = Chat(messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}])

    assert chat.most_tokens(10) > 10_000


def test_calls_of_tools_are_text_too() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"word": "peanut"}'}}
    chat = Chat(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])

    assert "peanut" in chat.texts[0]


@pytest.mark.parametrize(("inputs", "tokens"), [(["abcd", "efgh"], 2), ([[1, 2, 3]], 3)])
def test_inputs_are_estimated_by_their_text_or_their_tokens(inputs: list[Any], tokens: int) -> None:
    wanted = Inputs(inputs=inputs)

    assert likely_tokens(wanted.texts) == tokens
    assert wanted.most_tokens() >= tokens


@pytest.mark.parametrize(
    ("piece", "tokens"),
    [
        ([Delta(0, {"content": "a"}), Delta(0, {"content": "b"})], 2),
        ([Delta(0, {"content": "four letters, many times"})], 6),
        ([Delta(0, {}, "stop")], 1),
        ([Delta(0, {"tool_calls": [{"index": 0, "function": {"name": "look_up", "arguments": "x" * 33}}]})], 10),
        (b'data: {"a": 1}\n\ndata: {"b": 2}\n\n', 2),
        (b"data: " + b"x" * 400 + b"\n\n", 1),
        (b"data: " + b"x" * 4504 + b"\n\n", 1000),
    ],
)
def test_a_piece_is_estimated_by_its_steps_or_its_bytes(piece: Any, tokens: int) -> None:
    assert likely_tokens_of(piece) == tokens


def test_what_an_answer_says_are_its_texts_and_its_calls() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "Good day."},
        {"role": "assistant", "content": None, "tool_calls": [call, call]},
        {"role": "assistant", "content": "", "function_call": {"name": "weather", "arguments": "[]"}},
        {"role": "assistant", "content": None, "tool_calls": None, "refusal": "No."},
    ]
    choices = [{"index": index, "message": message} for index, message in enumerate(messages)]

    assert Completion("Good day.", 0, 0, choices).said == [
        *("Good day.", "look_up", "{}", "look_up", "{}", "", "weather", "[]"),
    ]
    assert Completion("Good day.", 0, 0).said == ["Good day."]
