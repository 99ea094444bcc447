"""The echo: what clients can be tried with, without any model."""

from math import isclose
from typing import Any

import pytest

from orchestrator.application.upstreams import UpstreamFailure, UpstreamRefusal
from orchestrator.domain.agent import WITH_EMBEDDINGS
from orchestrator.domain.chat import Chat, Completion, Delta, Inputs, Piece
from orchestrator.infrastructure.echo import CALL_ID, Echo
from orchestrator.infrastructure.kilo import Kilo
from tests.unit.orchestrator.agents import agent
from tests.unit.orchestrator.infrastructure.dialects.chats import TOOL, WITH_TOOLS, answer_of, chat

ECHO = agent("echo", type="echo", endpoint=None)
SAY = {"role": "user", "content": "one two  three\nfour"}


async def answered(wish: Chat) -> Completion:
    return await Echo().complete(ECHO, wish, within_s=1)


async def streamed(wish: Chat) -> tuple[list[list[Delta]], Completion]:
    pieces: list[list[Delta]] = []

    async def take(piece: Piece) -> None:
        assert not isinstance(piece, bytes)
        pieces.append(list(piece))

    return pieces, await Echo().stream(ECHO, wish, take, within_s=1, silence_s=1)


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ({}, "one two  three\nfour", "stop"),
        ({"max_tokens": 2}, "one two", "length"),
        ({"max_completion_tokens": 3, "max_tokens": 9}, "one two  three", "length"),
        ({"max_tokens": 4}, "one two  three\nfour", "stop"),
        ({"stop": " th"}, "one two ", "stop"),
        ({"stop": ["four", "two"]}, "one ", "stop"),
        ({"stop": None, "tools": [TOOL], "tool_choice": "auto"}, "one two  three\nfour", "stop"),
    ],
)
async def test_it_says_the_last_message_as_far_as_it_may(options: dict[str, Any], text: str, reason: str) -> None:
    completion = await answered(chat({"role": "system", "content": "Be brief."}, SAY, **options))
    pieces, end = await streamed(chat(SAY, **options))

    assert completion.choices == [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    ]
    assert (completion.text, completion.prompt_tokens, completion.completion_tokens) == (text, 6, len(text.split()))
    told = answer_of([step for piece in pieces for step in piece])
    assert (told["text"], told["reason"], end.text) == (text, reason, text)


async def test_a_stream_comes_word_by_word() -> None:
    pieces, _ = await streamed(chat(SAY))

    assert [step.content for piece in pieces for step in piece] == ["", "one", " two", "  three", "\nfour", ""]


async def test_parts_are_their_texts() -> None:
    assert (await answered(chat(WITH_TOOLS[1]))).text == "See:"
    assert (await answered(chat(*WITH_TOOLS))).text == "Which?"
    assert (await answered(chat({"role": "user", "content": None}))).text == ""


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
async def test_a_tool_is_called_when_it_has_to_be(choice: object) -> None:
    wish = chat(SAY, tools=[TOOL], tool_choice=choice)

    completion = await answered(wish)
    pieces, _ = await streamed(wish)

    call = {"id": CALL_ID, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert completion.choices == [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    told = answer_of([step for piece in pieces for step in piece])
    assert told["calls"] == [{"id": CALL_ID, "name": "weather", "arguments": "{}"}]
    assert told["reason"] == "tool_calls"


@pytest.mark.parametrize(
    "options",
    [
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "other"}}, "tools": [TOOL]},
        {"tool_choice": {"type": "function"}, "tools": [TOOL]},
        {"tool_choice": "required", "tools": [{}]},
        {"stop": 7},
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UpstreamRefusal) as refusal:
        await answered(chat(SAY, **options))

    assert (refusal.value.is_free, refusal.value.is_callers) == (True, True)


async def test_several_answers_are_alike() -> None:
    wish = Chat(messages=[SAY], choices=3)

    completion = await answered(wish)
    pieces, end = await streamed(wish)

    assert [(choice["index"], choice["message"]["content"]) for choice in completion.choices] == [
        (index, SAY["content"]) for index in range(3)
    ]
    steps = [step for piece in pieces for step in piece]
    assert [answer_of(steps, index)["text"] for index in range(3)] == [SAY["content"]] * 3
    assert completion.completion_tokens == end.completion_tokens == 12


async def test_vectors_are_of_length_one_and_the_same_each_time() -> None:
    inputs = Inputs(inputs=["a", "b c", "a"])

    embeddings = await Echo().embed(ECHO, inputs, within_s=1)

    first, second, third = embeddings.vectors
    assert (first, embeddings.prompt_tokens) == (third, 4)
    assert first != second
    assert len(first) == 8
    assert isclose(sum(number * number for number in first), 1)


async def test_tokens_mean_nothing_to_it() -> None:
    with pytest.raises(UpstreamRefusal, match="embed texts, not tokens"):
        await Echo().embed(ECHO, Inputs(inputs=[[1, 2]]), within_s=1)


async def test_kilo_is_not_reached() -> None:
    kilo = agent("kilo", type="kilo", endpoint=None)

    async def take(piece: Piece) -> None:
        raise AssertionError(piece)

    with pytest.raises(UpstreamFailure, match="kilo-bridge"):
        await Kilo().stream(kilo, chat(), take, within_s=1, silence_s=1)
    with pytest.raises(UpstreamRefusal, match="kilo agents have no embeddings"):
        await Kilo().embed(kilo, Inputs(inputs=["a"]), within_s=1)


def test_types_with_embeddings_are_those_that_do_not_refuse_all() -> None:
    assert {"anthropic", "kilo"} & WITH_EMBEDDINGS == set()
