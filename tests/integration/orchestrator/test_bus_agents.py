"""Bus agents at a real nats-server: what is understood of them, what is not, and what the worst of them can do."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from nats.aio.msg import Msg

from orchestrator.application.upstreams import UpstreamFailure, UpstreamRefusal, UpstreamTimeout
from orchestrator.domain.agent import AgentId
from orchestrator.domain.chat import Chat, Completion, Delta, Inputs, Piece
from orchestrator.infrastructure import bus_agents
from orchestrator.infrastructure.bus_agents import BusAgents
from shared.bus import Bus
from shared.errors import TooLarge, Unavailable
from tests.integration.bus import BUS_AGENTS, Nats, bus_as
from tests.integration.orchestrator.agents_on_the_bus import COMPLETION, OnTheBus, hangs, on_the_bus, word
from tests.integration.shared.clients import client_as, may_publish, may_subscribe
from tests.unit.orchestrator.agents import agent
from tests.waiting import until

ID, OTHER = BUS_AGENTS
AGENT = agent("b", id=AgentId(ID), type="bus", endpoint=None, max_tokens=100)
CHAT = Chat(messages=[{"role": "user", "content": "Hello"}])
OPENAIS = Chat(messages=CHAT.messages, passes_through=True)
"""As OpenAI's clients ask."""


@pytest.fixture
async def bus(nats: Nats) -> AsyncIterator[Bus]:
    async with bus_as(nats, "orchestrator") as bus:
        yield bus


@pytest.fixture
def upstream(bus: Bus) -> BusAgents:
    return BusAgents(bus)


async def complete(upstream: BusAgents, chat: Chat = CHAT, *, within_s: float = 5) -> Completion:
    return await upstream.complete(AGENT, chat, within_s=within_s)


async def streamed(
    upstream: BusAgents, pieces: list[Piece], chat: Chat = CHAT, *, within_s: float = 5, silence_s: float = 5
) -> Completion:
    async def take(piece: Piece) -> None:
        pieces.append(piece)

    return await upstream.stream(AGENT, chat, take, within_s=within_s, silence_s=silence_s)


def steps(pieces: list[Piece]) -> list[Delta]:
    return [delta for piece in pieces if not isinstance(piece, bytes) for delta in piece]


def said(pieces: list[Piece]) -> str:
    return "".join(delta.content for delta in steps(pieces))


async def test_it_is_asked_in_openais_words_and_told_nothing_of_who_asks(nats: Nats, upstream: BusAgents) -> None:
    options = {"tools": [{"type": "function"}], "max_tokens": 1000, "temperature": 0.5}
    async with on_the_bus(nats, ID) as there:
        answer = await complete(upstream, Chat(messages=CHAT.messages, options=options, choices=2), within_s=9)

    request = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "n": 2}
    assert there.requests == [{**options, **request, "max_tokens": AGENT.max_tokens}]
    assert there.asked[0].headers is not None
    assert list(there.asked[0].headers) == ["Peanut-Deadline"]
    assert 7 < int(there.asked[0].headers["Peanut-Deadline"]) / 1000 - time.time() < 10
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("Good day.", 9, 3)
    assert answer.choices == COMPLETION["choices"]


async def test_the_least_that_is_an_answer_is_understood(nats: Nats, upstream: BusAgents) -> None:
    async def least(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, {"choices": [{"message": {"content": "Yes."}}]})

    async with on_the_bus(nats, ID, least):
        answers = [await complete(upstream, chat) for chat in (CHAT, OPENAIS)]

    message = {"role": "assistant", "content": "Yes."}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    assert answers == [Completion("Yes.", 0, 0), Completion("Yes.", 0, 0, choices)]


async def test_a_stream_is_handed_on_while_it_comes(nats: Nats, upstream: BusAgents) -> None:
    go_on = asyncio.Event()

    async def slowly(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, word("Good "), Seq=1)
        await go_on.wait()
        await there.say(message.reply, word("day.", finish_reason="stop"), Seq=2)
        usage = {"prompt_tokens": 9, "completion_tokens": 3}
        await there.say(message.reply, {"choices": [], "usage": usage}, Seq=3, End=1)

    pieces: list[Piece] = []
    async with on_the_bus(nats, ID, slowly) as there:
        streaming = asyncio.create_task(streamed(upstream, pieces))
        await until(lambda: said(pieces) == "Good ")
        go_on.set()
        answer = await streaming

    assert steps(pieces) == [Delta(0, {"content": "Good "}), Delta(0, {"content": "day."}, "stop")]
    assert answer == Completion("Good day.", 9, 3)
    assert (there.requests[0]["stream"], there.requests[0]["stream_options"]) == (True, {"include_usage": True})
    assert there.cancelled == []


async def test_calls_of_tools_pass(nats: Nats, upstream: BusAgents) -> None:
    call = {"id": "c-1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message: dict[str, Any] = {"content": None, "tool_calls": [call]}

    async def tools(there: OnTheBus, asked: Msg) -> None:
        await there.say(asked.reply, {"choices": [{"message": message, "finish_reason": "tool_calls"}]})

    pieces: list[Piece] = []
    async with on_the_bus(nats, ID, tools):
        answer = await complete(upstream, OPENAIS)
        await streamed(upstream, pieces, OPENAIS)

    assert answer.text == ""
    assert answer.choices[0]["finish_reason"] == "tool_calls"
    assert answer.choices[0]["message"]["tool_calls"] == [call]
    assert steps(pieces)[0].delta["tool_calls"] == [{"index": 0, **call}]


async def test_who_does_not_stream_answers_a_request_for_a_stream_whole(nats: Nats, upstream: BusAgents) -> None:
    pieces: list[Piece] = []

    async with on_the_bus(nats, ID):
        answer = await streamed(upstream, pieces)

    assert [[delta.content for delta in steps([piece])] for piece in pieces] == [["Good day."]]
    assert answer == Completion("Good day.", 9, 3)


@pytest.mark.parametrize("code", ["failed", None, "refused"])
async def test_it_says_itself_how_it_fails(nats: Nats, upstream: BusAgents, code: str | None) -> None:
    async def fail(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, Error="out of \u202e tea.", **({"Error_Code": code} if code else {}))

    async with on_the_bus(nats, ID, fail) as there:
        for asked in (complete(upstream), streamed(upstream, [])):
            with pytest.raises(UpstreamFailure) as failure:
                await asked

            assert failure.value.words == "it says: out of \N{REPLACEMENT CHARACTER} tea"
            assert failure.value.is_free
            assert isinstance(failure.value, UpstreamRefusal) is (code == "refused")
            assert getattr(failure.value, "is_callers", False) is (code == "refused")
    assert there.cancelled == []


async def test_a_failure_in_the_middle_of_a_stream_comes_after_its_beginning(nats: Nats, upstream: BusAgents) -> None:
    async def fail(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, word("Good "), Seq=1)
        await there.say(message.reply, Error="out of tea")

    pieces: list[Piece] = []
    async with on_the_bus(nats, ID, fail):
        with pytest.raises(UpstreamFailure, match="out of tea") as failure:
            await streamed(upstream, pieces)

    assert (said(pieces), failure.value.is_free) == ("Good ", False)


async def test_nobody_there_is_known_at_once_and_free(upstream: BusAgents) -> None:
    for asked in (complete(upstream, within_s=60), streamed(upstream, []), upstream.probe(AGENT, within_s=60)):
        async with asyncio.timeout(3):
            with pytest.raises(UpstreamFailure, match="not connected") as failure:
                await asked
        assert failure.value.is_free


async def test_a_probe_shows_that_it_is_there_or_what_it_lacks(nats: Nats, upstream: BusAgents) -> None:
    async def not_yet(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, Error="still reading the model")

    async with on_the_bus(nats, ID):
        assert await upstream.probe(AGENT, within_s=5) == "Answers."
    async with on_the_bus(nats, ID, probe=not_yet):
        with pytest.raises(UpstreamFailure, match="still reading the model"):
            await upstream.probe(AGENT, within_s=5)


async def test_who_is_too_slow_is_told_that_nobody_waits_any_more(nats: Nats, upstream: BusAgents) -> None:
    async with on_the_bus(nats, ID, hangs) as there:
        for asked in (complete(upstream, within_s=0.1), streamed(upstream, [], within_s=0.1)):
            with pytest.raises(UpstreamTimeout, match="no answer in time"):
                await asked
        with pytest.raises(UpstreamTimeout, match=r"nothing new came for 0\.1 s"):
            await streamed(upstream, [], silence_s=0.1)
        await until(lambda: len(there.cancelled) == 3)

    assert there.cancelled == [message.reply for message in there.asked]


async def test_every_process_hears_what_is_cancelled(nats: Nats, upstream: BusAgents) -> None:
    async with on_the_bus(nats, ID, hangs) as one, on_the_bus(nats, ID, hangs) as two:
        asking = asyncio.create_task(complete(upstream))
        await until(lambda: len(one.asked + two.asked) == 1)
        asking.cancel()
        await until(lambda: len(one.cancelled) == len(two.cancelled) == 1)

    assert one.cancelled == two.cancelled == [(one.asked + two.asked)[0].reply]


async def test_what_comes_after_the_end_of_a_call_goes_nowhere(nats: Nats, upstream: BusAgents) -> None:
    async with on_the_bus(nats, ID, hangs) as there:
        with pytest.raises(UpstreamTimeout):
            await complete(upstream, within_s=0.1)
        late = asyncio.create_task(complete(upstream, within_s=0.3))
        await until(lambda: len(there.asked) == 2)
        await there.say(there.asked[0].reply, COMPLETION)  # for the first one
        with pytest.raises(UpstreamTimeout):
            await late

    assert there.refused == []


async def test_processes_of_one_agent_share_its_work(nats: Nats, upstream: BusAgents) -> None:
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(on_the_bus(nats, ID)) for _ in range(2)]
        answers = await asyncio.gather(*(complete(upstream) for _ in range(40)))

    assert [answer.text for answer in answers] == ["Good day."] * 40
    assert sum(len(process.asked) for process in processes) == 40
    assert all(process.asked for process in processes)


async def test_who_leaves_in_the_middle_of_it_is_not_waited_for(
    nats: Nats, upstream: BusAgents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_agents, "LOOK_EVERY_S", 0.1)
    async with on_the_bus(nats, ID, hangs) as there:
        asking = asyncio.create_task(complete(upstream, within_s=60))
        await until(lambda: len(there.asked) == 1)

    with pytest.raises(UpstreamFailure, match="has left the bus") as failure:
        await asyncio.wait_for(asking, 5)
    assert not failure.value.is_free


async def test_who_is_busy_but_there_is_waited_for(
    nats: Nats, upstream: BusAgents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_agents, "LOOK_EVERY_S", 0.05)

    async def slowly(there: OnTheBus, message: Msg) -> None:
        await asyncio.sleep(0.5)
        await there.say(message.reply, COMPLETION)

    async with on_the_bus(nats, ID, slowly, probe=hangs):
        answer = await complete(upstream)

    assert answer.text == "Good day."


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"no"',
        b"\xff\xfe",
        b'{"choices": []}',
        b'{"choices": ["no"]}',
        b'{"choices": [{"message": {"content": 1}}]}',
        b'{"choices": [{"message": {"content": "a"}}], "usage": 7}',
        b"[" * 100_000,
    ],
)
async def test_what_makes_no_sense_is_its_failure(nats: Nats, upstream: BusAgents, body: bytes) -> None:
    async def nonsense(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, body)

    async with on_the_bus(nats, ID, nonsense):
        for asked in (complete(upstream), streamed(upstream, [])):
            with pytest.raises(UpstreamFailure, match="not that of a model"):
                await asked


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"data: {}",
        b"[]",
        b"{}",
        b'{"choices": ["no"]}',
        b'{"choices": [{"delta": "a"}]}',
        b'{"choices": [{"delta": {}, "index": "0"}]}',
        b'{"choices": [{"delta": {}, "finish_reason": {}}]}',
    ],
)
async def test_a_chunk_that_makes_no_sense_is_its_failure(nats: Nats, upstream: BusAgents, body: bytes) -> None:
    async def nonsense(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, body, Seq=1)

    async with on_the_bus(nats, ID, nonsense) as there:
        with pytest.raises(UpstreamFailure, match="not that of a model"):
            await streamed(upstream, [])
        await until(lambda: len(there.cancelled) == 1)


@pytest.mark.parametrize("numbers", [(1, 3), (2,), (1, 1), (1, "x"), (1, None)])
async def test_a_lost_message_of_a_stream_is_noticed(
    nats: Nats, upstream: BusAgents, numbers: tuple[object, ...]
) -> None:
    async def lossy(there: OnTheBus, message: Msg) -> None:
        for number in numbers:
            await there.say(message.reply, word("Good "), **({} if number is None else {"Seq": number}))

    async with on_the_bus(nats, ID, lossy) as there:
        with pytest.raises(UpstreamFailure, match="missing"):
            await streamed(upstream, [])
        await until(lambda: len(there.cancelled) == 1)


async def test_an_end_that_came_too_soon_is_noticed(nats: Nats, upstream: BusAgents) -> None:
    async def lossy(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, word("Good "), Seq=1)
        await there.say(message.reply, Seq=3, End=1)

    async with on_the_bus(nats, ID, lossy):
        with pytest.raises(UpstreamFailure, match="missing"):
            await streamed(upstream, [])


async def test_the_first_of_two_answers_counts(nats: Nats, upstream: BusAgents) -> None:
    async def twice(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, COMPLETION)
        await there.say(message.reply, {"choices": [{"message": {"content": "No, bad day."}}]})

    async with on_the_bus(nats, ID, twice) as there:
        answers = [(await complete(upstream)).text for _ in range(5)]

    assert answers == ["Good day."] * 5
    assert (there.cancelled, there.refused) == ([], [])


@pytest.mark.parametrize("size", [5 * 1024 * 1024, 4 * 1024 * 1024 + 1])
async def test_an_answer_that_is_too_large_is_not_read(nats: Nats, upstream: BusAgents, size: int) -> None:
    async def large(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, b" " * size)

    async with on_the_bus(nats, ID, large):
        for asked in (complete(upstream), streamed(upstream, [])):
            with pytest.raises(UpstreamFailure, match="4 MiB"):
                await asked


async def test_a_message_of_a_stream_that_is_too_large_is_not_read(nats: Nats, upstream: BusAgents) -> None:
    async def large(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, word("x" * 1024 * 1024), Seq=1)

    async with on_the_bus(nats, ID, large):
        with pytest.raises(UpstreamFailure, match="larger than 1 MiB"):
            await streamed(upstream, [])


async def test_a_flood_ends_its_call_and_nothing_else(nats: Nats, upstream: BusAgents) -> None:
    async def flood(there: OnTheBus, message: Msg) -> None:
        for number in range(1, 257):
            await there.say(message.reply, word("x" * 500_000), Seq=number)
            await there.client.flush()

    pieces: list[Piece] = []
    async with on_the_bus(nats, ID, flood) as there, on_the_bus(nats, OTHER):
        with pytest.raises(UpstreamFailure, match="4 MiB"):
            await streamed(upstream, pieces)
        other = await upstream.complete(agent("c", id=AgentId(OTHER), type="bus", endpoint=None), CHAT, within_s=2)
        await until(lambda: len(there.cancelled) == 1)

    assert len(said(pieces)) <= 4 * 1024 * 1024
    assert other.text == "Good day."


class Enough(Exception):
    pass


@pytest.mark.parametrize(
    "why",
    [Enough(), TooLarge("A piece is too large."), Unavailable("Not written down.")],
    ids=lambda why: type(why).__name__,
)
async def test_a_reader_that_wants_no_more_ends_it_for_its_own_reason(
    nats: Nats, upstream: BusAgents, why: Exception
) -> None:
    async def endless(there: OnTheBus, message: Msg) -> None:
        await there.say(message.reply, word("on and "), Seq=1)

    async def take(_piece: Piece) -> None:
        raise why

    async with on_the_bus(nats, ID, endless) as there:
        with pytest.raises(type(why)) as caught:
            await upstream.stream(AGENT, CHAT, take, within_s=5, silence_s=5)
        await until(lambda: len(there.cancelled) == 1)

    assert caught.value is why


async def test_embeddings_are_in_the_order_of_their_inputs(nats: Nats, upstream: BusAgents) -> None:
    async def embed(there: OnTheBus, message: Msg) -> None:
        data = [{"index": 1, "embedding": [2, 2.5]}, {"index": 0, "embedding": [1, 1.5]}]
        await there.say(message.reply, {"data": data, "usage": {"prompt_tokens": 4}})

    inputs = Inputs(inputs=["one", "two"], options={"dimensions": 2})
    async with on_the_bus(nats, ID, embeddings=embed) as there:
        found = await upstream.embed(AGENT, inputs, within_s=5)
        with pytest.raises(UpstreamFailure, match="not an embedding for each input"):
            await upstream.embed(AGENT, Inputs(inputs=["one"]), within_s=5)

    assert (found.vectors, found.prompt_tokens) == ([[1.0, 1.5], [2.0, 2.5]], 4)
    assert there.requests[0] == {
        "model": "m",
        "input": ["one", "two"],
        "dimensions": 2,
        "encoding_format": "float",
    }


async def test_who_makes_no_embeddings_refuses_and_who_is_gone_fails(nats: Nats, upstream: BusAgents) -> None:
    with pytest.raises(UpstreamFailure, match="not connected") as gone:
        await upstream.embed(AGENT, Inputs(inputs=["one"]), within_s=5)
    async with on_the_bus(nats, ID):
        with pytest.raises(UpstreamRefusal, match="makes no embeddings") as refusal:
            await upstream.embed(AGENT, Inputs(inputs=["one"]), within_s=5)

    assert not isinstance(gone.value, UpstreamRefusal)
    assert (refusal.value.is_free, refusal.value.is_callers) == (True, True)


async def test_a_request_that_no_message_can_carry_is_the_callers_fault(upstream: BusAgents) -> None:
    with pytest.raises(UpstreamRefusal, match="too large") as refusal:
        await complete(upstream, Chat(messages=[{"role": "user", "content": "x" * 9_000_000}]))

    assert refusal.value.is_callers


async def test_a_bus_that_breaks_ends_what_was_said_over_it(own_nats: Nats) -> None:
    async with bus_as(own_nats, "orchestrator") as bus:
        subject = "peanut.agent.x.chat"
        async with bus.talk(subject, b"", {}, who="x", max_unread=10) as talk:
            own_nats.kill()
            await until(lambda: not bus.is_connected)
            with pytest.raises(Exception, match=r"broke|Nobody"):
                await talk.heard()
        with pytest.raises(UpstreamFailure, match="the bus is not reachable"):
            await complete(BusAgents(bus))
        own_nats.start()
        await until(lambda: bus.is_connected)


@pytest.mark.asvs("8.3.1")
async def test_a_hostile_agent_reaches_nothing_but_its_own_questions(nats: Nats, upstream: BusAgents) -> None:
    async with on_the_bus(nats, OTHER, hangs) as other, client_as(nats, ID) as (hostile, refusals):
        asked = asyncio.create_task(
            upstream.complete(agent("c", id=AgentId(OTHER), type="bus", endpoint=None), CHAT, within_s=5)
        )
        await until(lambda: len(other.asked) == 1)

        for subject in (
            other.asked[0].reply,
            f"peanut.agent.{OTHER}.chat",
            f"peanut.agent.{ID}.chat",
            "peanut.auth.key.create",
            "_INBOX_orchestrator.x",
            "_INBOX_edge.x",
            "peanut.version.orchestrator.agent",
            "$JS.API.INFO",
            "$SRV.PING",
        ):
            assert not await may_publish(hostile, refusals, subject), subject
        for subject in (
            ">",
            "peanut.>",
            "peanut.agent.>",
            "peanut.agent.*.chat",
            f"peanut.agent.{OTHER}.chat",
            "_INBOX.>",
        ):
            for queue in ("", "agent"):
                assert not await may_subscribe(hostile, refusals, subject, queue=queue), subject
        assert not await may_subscribe(hostile, refusals, f"peanut.agent.{ID}.chat")
        await other.say(other.asked[0].reply, COMPLETION)

        assert (await asked).text == "Good day."
