"""Streamed answers over real sockets: handed on as they arrive, and left when they misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from orchestrator.application.upstreams import UpstreamFailure, UpstreamRefusal, UpstreamTimeout
from orchestrator.domain.agent import AgentType
from orchestrator.domain.chat import Chat, Piece
from orchestrator.infrastructure import http_upstream
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.talking import Talk, talking
from tests.integration.orchestrator.upstreams import (
    Reply,
    Upstream,
    begins,
    event,
    json_answer,
    json_reply,
    reply,
    streams,
)
from tests.unit.orchestrator.infrastructure.dialects.chats import answer_of, chat

TYPES: list[AgentType] = ["ollama", "openai", "custom", "anthropic"]
HI = [{"role": "user", "content": "Hi"}]
THROUGH = Chat(messages=HI, passes_through=True)
DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def talk(server: Upstream) -> AsyncIterator[Talk]:
    async with talking(server) as talk:
        yield talk


def chunk(content: str = "", reason: str | None = None) -> bytes:
    delta = {"content": content} if content else {}
    return event({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})


USAGE = event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}})
GOOD = (chunk("Good "), chunk("day."), chunk(reason="stop"))


async def test_events_are_passed_through_while_they_arrive(talk: Talk) -> None:
    may_go_on = asyncio.Event()

    async def halting(writer: asyncio.StreamWriter) -> None:
        await begins(GOOD[0])(writer)
        await may_go_on.wait()
        for piece in (*GOOD[1:], USAGE, DONE):
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")

    talk.server.chat = halting
    answering = asyncio.create_task(talk.stream("openai", THROUGH))
    await talk.begun.wait()
    first = talk.passed
    may_go_on.set()
    completion = await answering

    assert first == GOOD[0]
    assert talk.passed == b"".join(GOOD)
    assert (completion.text, completion.prompt_tokens, completion.completion_tokens) == ("", 9, 3)
    assert talk.server.chats[0].json["stream_options"] == {"include_usage": True}


async def test_what_arrives_together_is_handed_on_together(talk: Talk) -> None:
    talk.server.chat = streams(b"".join((*GOOD, USAGE, DONE)))

    await talk.stream("openai", THROUGH)

    assert talk.pieces == [b"".join(GOOD)]


async def test_a_connection_is_used_again_after_a_stream(talk: Talk) -> None:
    talk.server.chat = streams(*GOOD, USAGE, DONE)

    for _ in range(3):
        await talk.stream("openai", THROUGH)

    assert talk.server.connections == 1


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_a_stream_may_be_cut_anywhere(talk: Talk, size: int) -> None:
    whole = b"\xef\xbb\xbf: hello\r\n\r\n" + b"".join((*GOOD, USAGE, DONE)).replace(b"\n", b"\r\n")
    talk.server.chat = streams(*(whole[begin : begin + size] for begin in range(0, len(whole), size)))

    completion = await talk.stream("openai", chat(user="u"))

    assert (completion.text, completion.prompt_tokens, completion.completion_tokens) == ("Good day.", 9, 3)
    assert answer_of(talk.steps)["reason"] == "stop"


async def test_an_answer_in_json_is_one_piece(talk: Talk) -> None:
    completions = [await talk.stream(type, chat(user="u")) for type in ("openai", "custom", "ollama")]

    assert [completion.text for completion in completions] == ["Good day."] * 3
    assert [len(talk.pieces), answer_of(talk.steps[:1])["reason"]] == [3, "stop"]
    assert {completion.completion_tokens for completion in completions} == {3}


async def test_a_server_that_knows_no_stream_options_is_asked_without_them(talk: Talk) -> None:
    async def strict(writer: asyncio.StreamWriter) -> None:
        asked = "stream_options" in talk.server.chats[-1].json
        error = {"error": {"message": "Unrecognized request argument supplied: stream_options"}}
        await (json_answer(400, error) if asked else streams(*GOOD, DONE))(writer)

    talk.server.chat = strict

    completions = [await talk.stream("openai", THROUGH) for _ in range(2)]

    assert ["stream_options" in request.json for request in talk.server.chats] == [True, False, False]
    assert [completion.completion_tokens for completion in completions] == [2, 2]
    assert talk.passed == b"".join(GOOD) * 2


LINE = json.dumps({"message": {"role": "assistant", "content": "Good "}, "done": False}).encode() + b"\n"
FIRST: dict[AgentType, bytes] = {
    "openai": GOOD[0],
    "custom": GOOD[0],
    "ollama": LINE,
    "anthropic": event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Good "}}),
}
ERROR: dict[AgentType, bytes] = {
    "openai": event({"error": {"message": "canary"}}),
    "custom": event({"error": "canary"}),
    "ollama": b'{"error": "canary"}\n',
    "anthropic": event({"type": "error", "error": {"type": "overloaded_error", "message": "canary"}}),
}


async def drips_for_ever(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b"d")
        await writer.drain()
        await asyncio.sleep(0.02)


BAD: dict[str, tuple[Reply, str]] = {
    "redirect": (upstreams.redirect("http://127.0.0.1:9/"), "HTTP 302, and redirects are not followed"),
    "refusal": (json_answer(429, {}), "HTTP 429"),
    "failure": (json_answer(500, {}), "HTTP 500"),
    "no HTTP": (upstreams.no_http, "connection broke"),
    "closes": (upstreams.closes_at_once, "connection broke"),
    "closes in the middle": (streams(b"data", ends=False), "connection broke"),
    "empty": (streams(), "before it was complete"),
    "bad UTF-8": (streams(b'data: {"type": "\xff"}\n\n{"\xff": 1}\n'), "not that of a model"),
    "HTML": (reply(b"<html>\n\n\n", headers="content-type: text/html\r\n"), "before it was complete|not that of"),
    "wrong schema": (streams(b'data: {"a": 1}\n\n{"a": 1}\n'), "not that of a model"),
    "array": (streams(b"data: []\n\n[]\n"), "not that of a model"),
    "deep": (streams(b"data: " + b"[" * 100_000 + b"\n\n"), "not that of a model"),
    "one gigabyte": (upstreams.one_gigabyte, "larger than 1 MiB"),
    "endless": (upstreams.endless_chunks, "larger than 1 MiB"),
    "compressed": (
        reply(b"\x1f\x8b\x08\x00" + b"\x00" * 100, headers="content-encoding: gzip\r\n"),
        "not that of a model|before it was complete",
    ),
    "headers": (reply(b"", headers="x: a\r\n b\r\nbad header\r\n"), "connection broke"),
    "two lengths": (reply(b"data: {}\n\n", headers="content-length: 3\r\n"), "connection broke"),
    "drips": (drips_for_ever, "no answer in time"),
    "hangs": (upstreams.hangs, "no answer in time"),
}


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("name", BAD)
async def test_a_stream_that_misbehaves_fails_before_anything_is_handed_on(
    talk: Talk, type: AgentType, name: str
) -> None:
    talk.server.chat, words = BAD[name]

    with pytest.raises(UpstreamFailure, match=words):
        await talk.stream(type, chat(user="u"), silence_s=0.5 if name in ("drips", "hangs") else 5)

    assert talk.pieces == []


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("passes_through", [True, False])
async def test_an_error_after_the_first_piece_breaks_the_answer_off_and_is_not_quoted(
    talk: Talk, type: AgentType, *, passes_through: bool
) -> None:
    talk.server.chat = streams(FIRST[type], ERROR[type], gap_s=0.05)

    with pytest.raises(UpstreamFailure, match="broke off its answer with an error") as failure:
        await talk.stream(type, Chat(messages=HI, passes_through=passes_through))

    assert len(talk.pieces) == 1
    assert "canary" not in failure.value.words


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize("ends", [True, False])
async def test_a_stream_that_ends_too_soon_is_a_failure(talk: Talk, type: AgentType, *, ends: bool) -> None:
    talk.server.chat = streams(FIRST[type], ends=ends, gap_s=0.05)

    with pytest.raises(UpstreamFailure, match="before it was complete" if ends else "connection broke"):
        await talk.stream(type, THROUGH)

    assert len(talk.pieces) == 1


@pytest.mark.parametrize("type", TYPES)
async def test_silence_after_the_first_piece_is_a_time_out(talk: Talk, type: AgentType) -> None:
    async def falls_silent(writer: asyncio.StreamWriter) -> None:
        await begins(FIRST[type])(writer)
        await asyncio.sleep(60)

    talk.server.chat = falls_silent

    with pytest.raises(UpstreamTimeout, match="no answer in time"):
        await talk.stream(type, chat(user="u"), silence_s=0.2)

    assert len(talk.pieces) == 1


async def test_comments_show_that_somebody_is_there(talk: Talk) -> None:
    talk.server.chat = streams(*[b": still thinking\n\n"] * 8, *GOOD, DONE, gap_s=0.1)

    completion = await talk.stream("openai", chat(user="u"), silence_s=0.5)

    assert completion.text == "Good day."


async def test_the_time_of_whoever_takes_is_no_silence(talk: Talk) -> None:
    talk.server.chat = streams(*GOOD, DONE, gap_s=0.02)

    async def slow(piece: Piece) -> None:
        await asyncio.sleep(0.3)
        await talk.take(piece)

    await talk.upstreams["openai"].stream(talk.agent("openai"), THROUGH, slow, within_s=5, silence_s=0.25)

    assert talk.passed == b"".join(GOOD)


async def test_the_whole_may_take_so_long_and_no_longer(talk: Talk) -> None:
    talk.server.chat = streams(*[GOOD[0]] * 200, gap_s=0.02)

    with pytest.raises(UpstreamTimeout):
        await talk.stream("openai", THROUGH, within_s=0.4)

    assert talk.passed.startswith(GOOD[0])


async def test_a_stream_that_never_ends_is_left(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_upstream, "MAX_STREAM_BYTES", 1024 * 1024)

    async def endless(writer: asyncio.StreamWriter) -> None:
        await streams(*[GOOD[0] * 100] * 10_000)(writer)

    talk.server.chat = endless

    with pytest.raises(UpstreamFailure, match="larger than 1 MiB"):
        await talk.stream("openai", THROUGH)


async def test_a_server_that_stays_after_the_end_is_not_waited_for(talk: Talk) -> None:
    async def stays(writer: asyncio.StreamWriter) -> None:
        await begins(*GOOD, DONE)(writer)
        await asyncio.sleep(60)

    talk.server.chat = stays

    async with asyncio.timeout(3):
        await talk.stream("openai", THROUGH)

    assert talk.passed == b"".join(GOOD)


class Enough(Exception):
    pass


@pytest.mark.parametrize("leaves_by", ["raising", "cancelling"])
@pytest.mark.parametrize(("type", "choices"), [("openai", 1), ("anthropic", 1), ("ollama", 2)])
async def test_leaving_closes_the_connection_at_once(talk: Talk, type: AgentType, choices: int, leaves_by: str) -> None:
    closed, begun = asyncio.Event(), asyncio.Event()

    async def goes_on(writer: asyncio.StreamWriter) -> None:
        try:
            await streams(*[FIRST[type]] * 10_000, gap_s=0.01)(writer)
        except ConnectionError:
            closed.set()
            raise

    async def take(piece: Piece) -> None:
        begun.set()
        if leaves_by == "raising":
            raise Enough

    talk.server.chat = goes_on
    wish = Chat(messages=HI, options={"user": "u"}, choices=choices)
    answering = asyncio.create_task(
        talk.upstreams[type].stream(talk.agent(type), wish, take, within_s=30, silence_s=30)
    )
    await begun.wait()
    if leaves_by == "cancelling":
        answering.cancel()

    with pytest.raises(Enough if leaves_by == "raising" else asyncio.CancelledError):
        await answering
    async with asyncio.timeout(2):
        await closed.wait()


async def test_a_refused_option_is_told_with_the_servers_words(talk: Talk) -> None:
    talk.server.chat = json_answer(400, {"error": {"message": "stop: too many"}})

    with pytest.raises(UpstreamRefusal, match='it says "stop: too many"') as refusal:
        await talk.stream("openai", chat(stop=["a"]))

    assert refusal.value.is_callers


async def test_json_that_is_no_answer_is_a_failure(talk: Talk) -> None:
    talk.server.chat = json_reply({"error": {"message": "canary"}})

    with pytest.raises(UpstreamFailure, match="not that of a model"):
        await talk.stream("openai", THROUGH)
