"""Event streams: what is written for each piece, and how they end."""

import json

from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Completion, Delta
from orchestrator.interface.event_streams import ChunkEvents, TokenEvents
from tests.unit.orchestrator.agents import agent

ANSWERED = Completion("Good day.", 9, 3)


class Written:
    """An outlet that remembers."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def write(self, piece: bytes) -> None:
        self.pieces.append(piece)


def chunks(outlet: Written, *, wants_usage: bool = False) -> ChunkEvents:
    return ChunkEvents(outlet, id="chatcmpl-1", created=7, wants_usage=wants_usage)


def some_agent() -> Agent:
    return agent("a", model="m")


async def test_each_step_with_text_is_a_token_and_what_arrives_together_leaves_together() -> None:
    outlet = Written()
    steps = [Delta(0, {"role": "assistant"}), Delta(0, {"content": "Good\n"}), Delta(0, {"content": "day"})]

    sent = await TokenEvents(outlet).take(some_agent(), steps)

    assert outlet.pieces == [b'event: token\ndata: {"text":"Good\\n"}\n\nevent: token\ndata: {"text":"day"}\n\n']
    assert sent == b"Good\nday"


async def test_steps_without_text_are_nothing_to_a_dispatch() -> None:
    outlet = Written()

    sent = await TokenEvents(outlet).take(some_agent(), [Delta(0, {}, "stop")])

    assert (outlet.pieces, sent) == ([], b"")


async def test_steps_become_openais_chunks() -> None:
    outlet = Written()

    await chunks(outlet).take(some_agent(), [Delta(1, {"content": "Hi"}), Delta(1, {}, "stop")])

    first, last, rest = b"".join(outlet.pieces).split(b"\n\n")
    assert json.loads(first.removeprefix(b"data: ")) == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "choices": [{"index": 1, "delta": {"content": "Hi"}, "finish_reason": None}],
    }
    assert json.loads(last.removeprefix(b"data: "))["choices"][0]["finish_reason"] == "stop"
    assert rest == b""


async def test_bytes_are_passed_through() -> None:
    outlet = Written()

    sent = await chunks(outlet).take(some_agent(), b'data: {"odd":  true}\n\n')

    assert outlet.pieces == [sent] == [b'data: {"odd":  true}\n\n']


async def test_the_tokens_are_told_only_where_they_are_wanted_and_were_not_passed_through() -> None:
    plain, wanted, passed = Written(), Written(), Written()
    passing = chunks(passed, wants_usage=True)
    await passing.take(some_agent(), b"data: {}\n\n")

    await chunks(plain).end(some_agent(), ANSWERED)
    await chunks(wanted, wants_usage=True).end(some_agent(), ANSWERED)
    await passing.end(some_agent(), ANSWERED)

    assert plain.pieces == passed.pieces[1:] == [b"data: [DONE]\n\n"]
    usage, done, _ = wanted.pieces[0].split(b"\n\n")
    assert json.loads(usage.removeprefix(b"data: "))["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
    }
    assert done == b"data: [DONE]"
