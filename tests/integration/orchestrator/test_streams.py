"""Streamed dispatches and chats: over real buses, from real upstreams, with everything that can break in between."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.bus import Bus, CallContext, Contract
from shared.bus.notes import forget_notes, noted_headers
from shared.contracts.audit import Outcome, Phase
from shared.contracts.openai import STREAM_CHAT
from shared.contracts.orchestrator import REGISTER_AGENT, STREAM_DISPATCH, Agent, Dispatched, RegisterAgent
from shared.errors import ErrorCode, PlatformError
from shared.principal import Allowance, PrincipalKind, Role
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator.calls import remove_built_in
from tests.integration.orchestrator.cluster import AuditLog, by, replica
from tests.integration.orchestrator.speaking import END, USAGE, Call, Speaking, chunk, event, speaking
from tests.waiting import until

HELLO = {"message": "Hello", "stream": True}
CHAT = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


@pytest.fixture
async def server() -> AsyncIterator[Speaking]:
    async with speaking() as running:
        yield running


@pytest.fixture
async def other() -> AsyncIterator[Speaking]:
    async with speaking() as running:
        yield running


@pytest.fixture
async def edge(nats: Nats, audit: AuditLog, data_dir: Path, server: Speaking, other: Speaking) -> AsyncIterator[Bus]:
    allowed = f"127.0.0.1:{server.port},127.0.0.1:{other.port}"
    async with replica(nats, data_dir, allowed=allowed), bus_as(nats, "edge") as bus:
        await remove_built_in(bus)
        yield bus


async def register(edge: Bus, server: Speaking, name: str = "speaker", **fields: object) -> Agent:
    wish = {"name": name, "type": "openai", "endpoint": f"{server.address}/v1", "model": "m", **fields}
    return await edge.call(REGISTER_AGENT, RegisterAgent.model_validate(wish), by(Role.OPERATOR))


class Stream:
    """A stream that a task reads to its end."""

    def __init__(
        self, edge: Bus, contract: Contract[Any, Any], body: object, context: CallContext | None = None
    ) -> None:
        self.context = context or by(Role.OPERATOR, seconds=20)
        self.received = b""
        self.answer = b""
        self.headers: dict[str, str] = {}
        self.task = asyncio.create_task(self._read(edge, contract, json.dumps(body).encode()))

    async def _read(self, edge: Bus, contract: Contract[Any, Any], body: bytes) -> None:
        forget_notes()
        async with edge.stream(contract, body, self.context) as inlet:
            while (piece := await inlet.piece()) is not None:
                self.headers = self.headers or dict(noted_headers() or {})
                self.received += piece
            self.answer = inlet.answer

    async def failure(self) -> PlatformError:
        with pytest.raises(PlatformError) as failed:
            await self.task
        return failed.value

    @property
    def events(self) -> list[tuple[str, Any]]:
        """Event types and data, as a browser would tell them."""
        found = []
        for block in self.received.decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            data = fields["data"]
            found.append((fields.get("event", "message"), data if data == "[DONE]" else json.loads(data)))
        return found

    @property
    def text(self) -> str:
        return "".join(data["text"] for kind, data in self.events if kind == "token")


def dispatch(edge: Bus, context: CallContext | None = None, **fields: object) -> Stream:
    return Stream(edge, STREAM_DISPATCH, {**HELLO, **fields}, context)


def chat(edge: Bus, **fields: object) -> Stream:
    return Stream(edge, STREAM_CHAT, {**CHAT, **fields})


async def call_of(server: Speaking, number: int = 1) -> Call:
    await until(lambda: len(server.calls) == number)
    return server.calls[-1]


async def test_tokens_come_as_they_are_said_and_the_end_tells_all(edge: Bus, server: Speaking, audit: AuditLog) -> None:
    agent = await register(edge, server)
    stream = dispatch(edge)
    call = await call_of(server)

    call.say("Good", " day")
    await until(lambda: stream.text == "Good day")
    call.say(".")
    await until(lambda: stream.text == "Good day.")
    call.finish()
    await stream.task

    assert [kind for kind, _ in stream.events] == ["token", "token", "token", "done"]
    done = Dispatched.model_validate(stream.events[-1][1], by_alias=True, by_name=False, strict=False)
    assert (done.message, done.agent_id, done.tokens_used) == ("Good day.", agent.id, 12)
    assert (stream.headers["Peanut-Agent"], stream.answer) == (agent.id, b"")
    assert call.request["stream"] is True


async def test_the_intent_is_in_the_log_before_the_first_token_and_the_outcome_before_the_end(
    edge: Bus, server: Speaking, audit: AuditLog
) -> None:
    await register(edge, server)
    stream = dispatch(edge)
    call = await call_of(server)

    call.say("Good day.")
    await until(lambda: bool(stream.text))
    at_first = [entry.phase for entry in audit.entries if entry.id == stream.context.event_id]
    call.finish()
    await until(lambda: stream.events[-1][0] == "done")

    (outcome,) = audit.outcomes("agent.request")
    assert at_first == [Phase.INTENT]
    assert (outcome.id, outcome.outcome) == (stream.context.event_id, Outcome.SUCCESS)
    assert (outcome.details["streamed"], outcome.details["answerBytes"]) == (True, 9)
    assert (outcome.details["promptTokens"], outcome.details["completionTokens"]) == (9, 3)
    await stream.task


async def test_openais_bytes_are_passed_through_but_for_the_end(edge: Bus, server: Speaking) -> None:
    await register(edge, server)
    stream = chat(edge)
    call = await call_of(server)

    call.say("Good", " day.")
    call.finish()
    await stream.task

    assert stream.received == chunk("Good") + chunk(" day.") + chunk(None, "stop") + b"data: [DONE]\n\n"


async def test_the_tokens_are_told_at_the_end_of_a_stream_where_they_are_wanted(edge: Bus, server: Speaking) -> None:
    await register(edge, server)
    stream = chat(edge, stream_options={"include_usage": True})
    call = await call_of(server)

    call.finish()
    await stream.task

    assert [data["usage"] for _, data in stream.events if data != "[DONE]" and data["usage"]] == [USAGE]
    assert stream.events[-1][1] == "[DONE]"


async def test_before_the_first_piece_a_failed_agent_is_replaced(
    edge: Bus, server: Speaking, other: Speaking, audit: AuditLog
) -> None:
    await register(edge, server, "first", priority=9)
    second = await register(edge, other, "second")
    stream = dispatch(edge)

    (await call_of(server)).fail()
    call = await call_of(other)
    call.say("Good day.")
    call.finish()
    await stream.task

    done = stream.events[-1][1]
    assert [(attempt["agentName"], attempt["outcome"]) for attempt in done["attempts"]] == [
        ("first", "failed"),
        ("second", "success"),
    ]
    assert stream.headers["Peanut-Agent"] == second.id
    assert len(audit.outcomes("agent.request")) == 1


@pytest.mark.parametrize("end", ["breaks off", "sends an error", "sends nonsense"])
async def test_after_the_first_piece_a_failure_is_told_and_nobody_else_is_asked(
    end: str, edge: Bus, server: Speaking, other: Speaking, audit: AuditLog
) -> None:
    await register(edge, server, "first", priority=9)
    await register(edge, other, "second")
    stream = dispatch(edge)
    call = await call_of(server)
    call.say("Good")
    await until(lambda: stream.text == "Good")

    match end:
        case "breaks off":
            call.break_off()
        case "sends an error":
            call.send(event({"error": {"message": "out of memory"}}))
        case _:
            call.send(b"data: {]\n\n")

    failure = await stream.failure()
    assert (failure.code, failure.reason) == (ErrorCode.BAD_GATEWAY, "agent-failed")
    (outcome,) = audit.outcomes("agent.request")
    assert (outcome.outcome, outcome.details["reason"]) == (Outcome.FAILURE, "agent-failed")
    assert other.calls == []


@pytest.mark.parametrize("has_begun", [False, True], ids=["before the first token", "after it"])
async def test_whoever_leaves_ends_the_agents_work_and_is_recorded_once(
    has_begun: bool, edge: Bus, server: Speaking, audit: AuditLog
) -> None:
    await register(edge, server)
    stream = dispatch(edge)
    call = await call_of(server)
    if has_begun:
        call.say("Good")
        await until(lambda: stream.text == "Good")

    stream.task.cancel()
    await until(lambda: call.is_left)
    await until(lambda: len(audit.outcomes("agent.request")) == 1)

    (outcome,) = audit.outcomes("agent.request")
    assert (outcome.outcome, outcome.details["reason"]) == (Outcome.UNKNOWN, "cancelled")


async def test_without_the_log_nothing_of_an_answer_is_let_out(
    nats: Nats, data_dir: Path, server: Speaking, audit: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replica(nats, data_dir, allowed=f"127.0.0.1:{server.port}"), bus_as(nats, "edge") as edge:
        await register(edge, server)
        monkeypatch.setattr("shared.audit.appender.RECEIPT_WITHIN_S", 0.2)
        audit.refuses = True
        stream = dispatch(edge)
        call = await call_of(server)
        call.say("Good day.")
        failure = await stream.failure()
        await until(lambda: call.is_left)

    assert (failure.code, failure.reason) == (ErrorCode.UNAVAILABLE, "audit-unavailable")
    assert stream.received == b""


async def test_a_failure_before_the_first_piece_is_an_ordinary_one(edge: Bus, server: Speaking) -> None:
    await register(edge, server)
    stream = dispatch(edge)

    (await call_of(server)).fail(b"400 Bad Request")
    failure = await stream.failure()

    assert (failure.reason, stream.received) == ("agent-failed", b"")


async def test_without_stream_in_the_body_the_answer_comes_whole(edge: Bus, server: Speaking) -> None:
    await register(edge, server)
    stream = Stream(edge, STREAM_DISPATCH, {"message": "x", "stream": False})
    call = await call_of(server)

    answer = json.dumps(
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Whole."}, "finish_reason": "stop"}]}
    ).encode()
    call.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))
    await stream.task

    assert (stream.received, json.loads(stream.answer)["message"]) == (b"", "Whole.")


async def test_an_agent_that_answers_a_stream_whole_has_said_it_in_one_piece(edge: Bus, server: Speaking) -> None:
    await register(edge, server)
    stream = dispatch(edge)
    call = await call_of(server)

    answer = json.dumps(
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Whole."}, "finish_reason": "stop"}]}
    ).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
    call.transport.write(head + answer)
    await stream.task

    assert (stream.text, stream.events[-1][1]["message"]) == ("Whole.", "Whole.")


async def test_what_was_heard_of_a_stream_that_breaks_off_is_taken_from_the_budget(edge: Bus, server: Speaking) -> None:
    await register(edge, server, max_tokens=1000)
    context = by(Role.VIEWER, kind=PrincipalKind.KEY, seconds=20)
    principal = context.principal.model_copy(update={"allowance": Allowance(tokens_per_day=5000)})
    caller = context.caller.model_copy(update={"principal": principal})
    key = type(context)(caller=caller, deadline=context.deadline)
    stream = dispatch(edge, key)
    call = await call_of(server)
    call.say("one", "two", "three")
    await until(lambda: stream.text == "onetwothree")

    call.break_off()
    await stream.failure()
    after = dispatch(edge, type(context)(caller=caller, deadline=context.deadline))
    (await call_of(server, 2)).finish()
    await after.task

    left = int(after.headers["RateLimit"].split('"tokens";r=')[1].split(";")[0])
    assert 5000 - 1000 - 100 < left < 5000


async def test_a_script_that_ends_without_done_is_taken_when_it_has_finished(edge: Bus, server: Speaking) -> None:
    await register(edge, server)
    server.script = chunk("Good day.") + chunk(None, "stop")
    stream = dispatch(edge)

    await stream.task

    assert (stream.text, stream.events[-1][0]) == ("Good day.", "done")


async def test_one_that_ends_in_the_middle_has_failed(edge: Bus, server: Speaking) -> None:
    await register(edge, server)
    server.script = chunk("Good")
    stream = dispatch(edge)

    failure = await stream.failure()

    assert (stream.text, failure.reason) == ("Good", "agent-failed")


async def test_a_hundred_streams_side_by_side_lose_nothing(edge: Bus, server: Speaking) -> None:
    await register(edge, server, max_concurrency=1000)
    # Few words: the provider, the orchestrator, its audit log and all readers share one process here.
    server.script = b"".join(chunk(f"{number} ") for number in range(60)) + END

    streams = [dispatch(edge) for _ in range(100)]
    await asyncio.gather(*(stream.task for stream in streams))

    whole = "".join(f"{number} " for number in range(60))
    assert {stream.text for stream in streams} == {whole}
    assert {stream.events[-1][1]["message"] for stream in streams} == {whole}
