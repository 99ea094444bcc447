"""OpenAI's API over the bus: chats, embeddings and models, in and out."""

import base64
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from orchestrator.application.attempts import AgentFailed
from orchestrator.application.dispatching import Answered, Dispatching, require_may_dispatch
from orchestrator.application.idempotency import Claim, Idempotency, require_no_key
from orchestrator.application.limiting import models_of
from orchestrator.application.orders import ChatOrder, Choice, EmbeddingsOrder, Order
from orchestrator.application.pool import Pool
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion, Embeddings, Inputs
from orchestrator.interface.event_streams import ChunkEvents, Outlet, StreamNotPlain, usage_of
from shared.bus import CallContext, Endpoint, Kind
from shared.bus.messages import invalid_fields
from shared.contracts.openai import (
    COMPLETE_CHAT,
    CREATE_EMBEDDINGS,
    LIST_MODELS,
    STREAM_CHAT,
    ChatRequest,
    EmbeddingsRequest,
    OpenAiMessage,
)
from shared.errors import ErrorCode, FieldError, InvalidFields, Malformed, PlatformError
from shared.json import read_sound_json

AUTO = "auto"
"""The model of whoever lets an agent of any model be chosen."""
_NOT_OPTIONS = frozenset({"model", "messages", "n", "stream", "stream_options"})

R = TypeVar("R", bound=OpenAiMessage)


class ModelNotFound(PlatformError):
    """No agent is of this model."""

    code = ErrorCode.NOT_FOUND
    reason = "model-not-found"

    def __init__(self, model: str) -> None:
        super().__init__(f"There is no agent of the model {model}; GET /v1/models tells those that there are.")


class ModelHasNoEmbeddings(InvalidFields):
    """There are agents of this model, all of types that make no embeddings: trying again is of no use."""

    reason = "no-embeddings"

    def __init__(self, model: str) -> None:
        error = FieldError("model", f"{model} is served by agents alone that make none")
        super().__init__("This model has no embeddings.", errors=(error,))


class RequestRefused(PlatformError):
    """The agent has found fault with the request itself: sending it again is of no use."""

    code = ErrorCode.INVALID
    reason = "request-refused"


def openai_endpoints(dispatching: Dispatching, pool: Pool, idempotency: Idempotency) -> list[Endpoint]:
    """What the orchestrator answers in OpenAI's words."""

    async def complete(body: bytes, context: CallContext) -> bytes:
        require_may_dispatch(context)
        request, chat = _chat(body)
        if request.stream:
            raise StreamNotPlain
        return await _whole_chat(request, chat, body, context)

    async def stream(body: bytes, context: CallContext, outlet: Outlet) -> bytes:
        require_may_dispatch(context)
        request, chat = _chat(body)
        if not request.stream:
            return await _whole_chat(request, chat, body, context.until(Kind.DISPATCH.seconds))
        require_no_key(context)
        await dispatching.admit(context)
        events = ChunkEvents(outlet, id=_id(context), created=int(time.time()), wants_usage=chat.wants_usage)
        with _refusals_told():
            answered = await dispatching.stream(chat, await _choice(request.model, embeds=False), body, context, events)
        assert isinstance(answered.answer, Completion)
        await events.end(answered.agent, answered.answer)
        return b""

    async def embed(body: bytes, context: CallContext) -> bytes:
        require_may_dispatch(context)
        value, request = _read(EmbeddingsRequest, body)
        options = {name: value[name] for name in value.keys() - {"model", "input", "encoding_format"}}
        order = EmbeddingsOrder(Inputs(inputs=_inputs(value["input"]), options=options))

        def written(answered: Answered) -> bytes:
            return _embeddings(answered, in_base64=request.encoding_format == "base64")

        return await _whole(CREATE_EMBEDDINGS.subject, order, request.model, body, context, written=written)

    async def _whole_chat(request: ChatRequest, chat: Chat, body: bytes, context: CallContext) -> bytes:
        def written(answered: Answered) -> bytes:
            return _completion(answered, context)

        return await _whole(COMPLETE_CHAT.subject, ChatOrder(chat), request.model, body, context, written=written)

    async def _whole(
        subject: str,
        order: Order,
        model: str,
        body: bytes,
        context: CallContext,
        *,
        written: Callable[[Answered], bytes],
    ) -> bytes:
        async def work(claim: Claim | None) -> bytes:
            await dispatching.admit(context)
            choice = await _choice(model, embeds=order.embeds)
            begins = None if claim is None else claim.effect_begins
            with _refusals_told():
                return written(await dispatching.answer(order, choice, body, context, begins))

        if not context.idempotency_key:
            return await work(None)
        return await idempotency.once(context.idempotency_key, subject, body, context, work)

    async def list_models(_body: bytes, context: CallContext) -> bytes:
        return _models((await pool.current()).agents, models_of(context.principal))

    async def _choice(model: str, *, embeds: bool) -> Choice:
        if model == AUTO:
            return Choice()
        serving = [agent for agent in (await pool.current()).agents if agent.model == model]
        if not serving:
            raise ModelNotFound(model)
        if embeds and not any(agent.serves(model, (), embeds=True) for agent in serving):
            raise ModelHasNoEmbeddings(model)
        return Choice(model=model)

    return [
        COMPLETE_CHAT.answered_in_bytes_by(complete),
        STREAM_CHAT.streamed_by(stream),
        CREATE_EMBEDDINGS.answered_in_bytes_by(embed),
        LIST_MODELS.answered_in_bytes_by(list_models),
    ]


@contextmanager
def _refusals_told() -> Iterator[None]:
    """Clients try again what a server failed at; what an agent has refused they should mend instead."""
    try:
        yield
    except AgentFailed as error:
        if error.is_callers_fault:
            raise RequestRefused(error.detail) from error
        raise


def _read(model: type[R], body: bytes) -> tuple[dict[str, Any], R]:
    """The request as it came, and what is known of it; raises Malformed or InvalidFields."""
    value = read_sound_json(body)
    if not isinstance(value, dict):
        raise Malformed("The body is not a JSON object.")
    try:
        return value, model.model_validate(value)
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False, include_input=False)) from error


def _chat(body: bytes) -> tuple[ChatRequest, Chat]:
    value, request = _read(ChatRequest, body)
    chat = Chat(
        messages=value["messages"],
        options={name: value[name] for name in value.keys() - _NOT_OPTIONS if value[name] is not None},
        choices=request.n or 1,
        passes_through=True,
        wants_usage=request.stream_options is not None and request.stream_options.include_usage,
    )
    return request, chat


def _inputs(given: Any) -> Sequence[str | Sequence[int]]:
    """The inputs of a request, which may be a single text or a single list of tokens."""
    return [given] if isinstance(given, str) or isinstance(given[0], int) else given


def _id(context: CallContext) -> str:
    return f"chatcmpl-{context.event_id.replace('-', '')}"


def _completion(answered: Answered, context: CallContext) -> bytes:
    completion = answered.answer
    assert isinstance(completion, Completion)
    return completion.body or orjson.dumps(
        {
            "id": _id(context),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": answered.agent.model,
            "choices": completion.choices,
            "usage": usage_of(completion),
        }
    )


def _embeddings(answered: Answered, *, in_base64: bool) -> bytes:
    embeddings = answered.answer
    assert isinstance(embeddings, Embeddings)
    write = _in_base64 if in_base64 else list
    return orjson.dumps(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": write(vector)}
                for index, vector in enumerate(embeddings.vectors)
            ],
            "model": answered.agent.model,
            "usage": {"prompt_tokens": embeddings.prompt_tokens, "total_tokens": embeddings.prompt_tokens},
        }
    )


def _in_base64(vector: Sequence[float]) -> str:
    """32-bit floats, little-endian, as OpenAI's client asks for them by itself."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _models(agents: Sequence[Agent], models: Sequence[str] | None) -> bytes:
    """Each model once, as old as its oldest agent."""
    oldest: dict[str, Agent] = {}
    for agent in agents:
        if models is None or agent.model in models:
            oldest.setdefault(agent.model, agent)
    listed = [
        {"id": name, "object": "model", "created": int(agent.created_at.timestamp()), "owned_by": agent.type}
        for name, agent in oldest.items()
    ]
    auto = {"id": AUTO, "object": "model", "created": 0, "owned_by": "peanutagent"}
    return orjson.dumps({"object": "list", "data": [auto, *listed]})
