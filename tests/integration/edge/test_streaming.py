"""Streams from a service over a real bus to real sockets and OpenAI's official client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
import pytest

from edge.listeners import Listeners
from edge.live_events import LiveEvents
from edge.routes.hot import hot_routes
from shared.bus import CallContext, Outlet, write
from shared.bus.notes import note_agent
from shared.contracts.events import AGENT_CHANGED, AgentChanged
from shared.contracts.openai import COMPLETE_CHAT, LIST_MODELS, STREAM_CHAT
from shared.errors import ErrorCode, FieldError, InvalidFields, PlatformError, RemoteFailure, Unavailable
from tests.integration.bus import Nats, bus_as
from tests.integration.leaving import Leave, close, half_close, reset
from tests.unit.edge.http.serving import Door, edge
from tests.unit.edge.test_live_events import NOON, listening
from tests.waiting import until

MESSAGES: list[Any] = [{"role": "user", "content": "Hello"}]
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Orchestrator:
    """Streams `words`, one by one, then fails if it has a failure; for the model `endless` it goes on for ever."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.failure: PlatformError | None = None
        self.begun = 0
        self.ended = 0

    async def complete(self, _body: bytes, _context: CallContext) -> bytes:
        self.begun += 1
        if self.failure is not None:
            raise self.failure
        return orjson.dumps(COMPLETION)

    async def stream(self, body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        self.begun += 1
        note_agent("0a")
        try:
            for word in self.words:
                await outlet.write(_chunk(word))
            while b"endless" in body:
                await outlet.write(_chunk("x" * 4096))
                await asyncio.sleep(0)
            if self.failure is not None:
                raise self.failure
            await outlet.write(b"data: [DONE]\n\n")
        finally:
            self.ended += 1
        return b"{}"

    async def list_models(self, _body: bytes, _context: CallContext) -> bytes:
        return orjson.dumps(
            {"object": "list", "data": [{"id": "a/b:c", "object": "model", "created": 1, "owned_by": "x"}]}
        )


def _chunk(word: str) -> bytes:
    choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % orjson.dumps(chunk)


@asynccontextmanager
async def world(nats: Nats) -> AsyncIterator[tuple[Orchestrator, int, Any]]:
    """An orchestrator, the port of an edge before it, and the orchestrator's bus."""
    orchestrator, door = Orchestrator(), Door()
    identities: Any = door
    async with bus_as(nats, "orchestrator") as theirs, bus_as(nats, "edge") as ours:
        await theirs.serve(
            COMPLETE_CHAT.answered_in_bytes_by(orchestrator.complete),
            STREAM_CHAT.streamed_by(orchestrator.stream),
            LIST_MODELS.answered_in_bytes_by(orchestrator.list_models),
        )
        listeners = Listeners(identities)
        events = LiveEvents(ours, listeners)
        await events.start()
        async with edge(hot=hot_routes(ours, events), door=door) as port, listeners.checking():
            yield orchestrator, port, theirs


@asynccontextmanager
async def official(port: int, key: str = "key-01") -> AsyncIterator[openai.AsyncOpenAI]:
    headers = {"Host": "localhost"}
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key=key, default_headers=headers
    ) as client:
        yield client


async def test_openais_client_reads_each_word_of_a_stream(nats: Nats) -> None:
    async with world(nats) as (orchestrator, port, _), official(port) as client:
        orchestrator.words = ["Good", " ", "day", "."]
        stream = await client.chat.completions.create(model="auto", messages=MESSAGES, stream=True)
        words = [chunk.choices[0].delta.content async for chunk in stream]
        headers = stream.response.headers
        whole = await client.chat.completions.create(model="auto", messages=MESSAGES)

    assert words == orchestrator.words
    assert (headers["peanut-agent"], headers["content-type"]) == ("0a", "text/event-stream; charset=utf-8")
    assert whole.choices[0].message.content == "Hi"
    assert whole._request_id


async def test_openais_client_raises_what_fails_under_way(nats: Nats) -> None:
    async with world(nats) as (orchestrator, port, _), official(port) as client:
        orchestrator.words = ["Good"]
        orchestrator.failure = RemoteFailure(ErrorCode.BAD_GATEWAY, "agent-failed", "It broke off.")
        stream = await client.chat.completions.create(model="auto", messages=MESSAGES, stream=True)
        first = await anext(stream)
        with pytest.raises(openai.APIError, match="It broke off") as raised:
            await anext(stream)

    assert (first.choices[0].delta.content, raised.value.code) == ("Good", "agent-failed")


async def test_openais_client_finds_a_model_with_a_slash_in_its_name(nats: Nats) -> None:
    async with world(nats) as (_, port, _theirs), official(port) as client:
        found = await client.models.retrieve("a/b:c")
        listed = [model.id async for model in client.models.list()]
        with pytest.raises(openai.NotFoundError) as raised:
            await client.models.retrieve("a/b")

    assert (found.id, listed, raised.value.code) == ("a/b:c", ["a/b:c"], "model_not_found")


FAILURES: list[tuple[PlatformError, type[openai.APIStatusError], int]] = [
    (InvalidFields("No.", errors=(FieldError("n", "too many"),)), openai.BadRequestError, 1),
    (RemoteFailure(ErrorCode.FORBIDDEN, "model-not-allowed", "No."), openai.PermissionDeniedError, 1),
    (RemoteFailure(ErrorCode.NOT_FOUND, "model-not-found", "No."), openai.NotFoundError, 1),
    (RemoteFailure(ErrorCode.CONFLICT, "session-busy", "No."), openai.ConflictError, 1),
    (RemoteFailure(ErrorCode.RATE_LIMITED, "rate-limited", "No.", retry_after=1), openai.RateLimitError, 2),
    (RemoteFailure(ErrorCode.RATE_LIMITED, "token-budget-exhausted", "No.", retry_after=1), openai.RateLimitError, 1),
    (RemoteFailure(ErrorCode.BAD_GATEWAY, "agent-failed", "No."), openai.InternalServerError, 1),
    (RemoteFailure(ErrorCode.TIMEOUT, "deadline-passed", "No."), openai.InternalServerError, 1),
    (RemoteFailure(ErrorCode.INTERNAL, "internal", "No."), openai.InternalServerError, 1),
    (Unavailable("No."), openai.InternalServerError, 2),
]


@pytest.mark.parametrize(
    ("failure", "raised_as", "tries"), FAILURES, ids=[failure.reason for failure, _, _ in FAILURES]
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_openais_client_raises_its_own_errors_and_repeats_only_what_does_no_harm(
    failure: PlatformError, raised_as: type[openai.APIStatusError], tries: int, stream: bool, nats: Nats
) -> None:
    async with world(nats) as (orchestrator, port, _), official(port) as client:
        orchestrator.failure = failure
        with pytest.raises(raised_as) as raised:
            await client.with_options(max_retries=1).chat.completions.create(
                model="auto", messages=MESSAGES, stream=stream
            )

    assert raised.value.request_id
    assert orchestrator.begun == tries


async def test_openais_client_is_not_known_without_a_key_of_ours(nats: Nats) -> None:
    async with world(nats) as (_, port, _theirs), official(port, "sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            await client.models.list()

    assert raised.value.code == "invalid_api_key"


@pytest.mark.parametrize("leave", [close, half_close, reset])
async def test_whoever_leaves_ends_the_work_at_the_other_end_of_the_bus(leave: Leave, nats: Nats) -> None:
    async with world(nats) as (orchestrator, port, _):
        reader, writer = await _ask(port)
        await reader.readuntil(b"data: ")
        leave(writer)
        await until(lambda: orchestrator.ended == 1)
        writer.close()


async def test_who_does_not_read_holds_up_the_producer_and_nobody_else(nats: Nats) -> None:
    async with world(nats) as (orchestrator, port, _), official(port) as client:
        _, writer = await _ask(port)
        await until(lambda: orchestrator.begun == 1)
        orchestrator.words = ["Hi"]
        stream = await client.chat.completions.create(model="auto", messages=MESSAGES, stream=True)
        words = [chunk.choices[0].delta.content async for chunk in stream]
        ended = orchestrator.ended
        writer.close()

    assert (words, ended) == (["Hi"], 1)


async def test_what_a_service_tells_reaches_who_listens(nats: Nats) -> None:
    async with world(nats) as (_, port, theirs), listening(port) as client:
        happened = AgentChanged(timestamp=NOON, agent_id="a", agent_name="llama", change="updated")
        await theirs.publish(AGENT_CHANGED.subject, write(happened))
        event = await client.event()

    assert (event["event"], orjson.loads(event["data"])["agentName"]) == ("agent.updated", "llama")


async def _ask(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    body = b'{"model": "endless", "stream": true}'
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer key-01\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body)
    return reader, writer
