"""The hot routes as FastAPI's document describes them, from the contracts that services keep."""

from typing import Annotated, Any

from fastapi import Header, Query
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from edge.http.request import MAX_TIMEOUT_S
from edge.routes.audit_export import EXPORT_PATH, STREAM_PATH, ExportQuery
from edge.routes.hot import AgentsQuery
from edge.routes.idempotency import IdempotencyKey
from shared.contracts.auth import User
from shared.contracts.events import AgentChanged, AgentHealthChanged, IntegrityChanged, StreamDropped, StreamEnded
from shared.contracts.openai import (
    ChatCompletion,
    ChatRequest,
    EmbeddingList,
    EmbeddingsRequest,
    Model,
    ModelList,
)
from shared.contracts.orchestrator import Agents, Dispatch, Dispatched

DISPATCH = "/api/v1/openclaw/dispatch"
CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"

Timeout = Annotated[
    int | None,
    Header(
        alias="Peanut-Timeout",
        ge=1,
        le=MAX_TIMEOUT_S,
        description="Whole seconds that the answer may take; 120 if left out, and 600 for a stream",
    ),
]
LastEventId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, description="Begins after this entry instead of with the next to come"),
]

_DISPATCH_EVENTS = (
    "With `stream`: an event `token` with `{text}` for each piece of the answer, then `done` with what is answered"
    " otherwise; or `error` with a Problem as the last one."
)
_CHAT_EVENTS = (
    "With `stream`: chunks as OpenAI sends them, then `[DONE]`; or an OpenAiError as the last one."
    " The last chunk before the end tells the tokens if `stream_options.include_usage` is set."
)
_EVENTS = (
    "What happens from now on: `agent.health_changed` with an AgentHealthChanged; `agent.created`, `agent.updated`,"
    " `agent.deleted`, `agent.maintenance_begun`, `agent.maintenance_ended` with an AgentChanged;"
    " `audit.alarm` with an IntegrityChanged when the audit log is no longer what was written, `audit.recovered` when"
    " it is again; `dropped` with a StreamDropped to who reads too slowly; `end` with a StreamEnded as the last one."
)

_ENTRIES = (
    "An event `entry` with an Entry for each one that is committed, its index as the id; `dropped` with a StreamDropped"
    " to who wants to go on further back than 10,000 entries; `end` with a StreamEnded as the last one."
)
_LINES = (
    "One entry a line, see docs/audit-export.md. An export that does not end as HTTP says has failed; it goes on with"
    " `from`, the index after the last whole line."
)
_EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The entries, as they are read",
        "headers": {"Content-Disposition": {"schema": {"type": "string"}}},
        "content": {
            kind: {"schema": {"type": "string", "description": _LINES}} for kind in ("application/x-ndjson", "text/csv")
        },
    }
}


def hot_descriptions() -> list[APIRoute]:
    """Descriptions only: these functions are never called and are part of no application."""

    async def me() -> None: ...

    async def list_agents(query: Annotated[AgentsQuery, Query()]) -> None: ...

    async def dispatch(body: Dispatch, timeout: Timeout = None, key: IdempotencyKey = None) -> None: ...

    async def hear_events() -> None: ...

    async def export_audit(query: Annotated[ExportQuery, Query()]) -> None: ...

    async def follow_audit(last_event_id: LastEventId = None) -> None: ...

    async def complete_chat(body: ChatRequest, timeout: Timeout = None, key: IdempotencyKey = None) -> None: ...

    async def create_embeddings(
        body: EmbeddingsRequest, timeout: Timeout = None, key: IdempotencyKey = None
    ) -> None: ...

    async def list_models() -> None: ...

    async def get_model(model: str) -> None: ...

    return [
        APIRoute("/api/v1/auth/me", me, tags=["auth"], summary="Who you are", response_model=User),
        APIRoute("/api/v1/agents", list_agents, tags=["agents"], summary="List the agents", response_model=Agents),
        APIRoute(
            DISPATCH,
            dispatch,
            methods=["POST"],
            tags=["openclaw"],
            summary="Send a message to an agent",
            response_model=Dispatched,
            responses=_streamed(_DISPATCH_EVENTS, 'event: token\ndata: {"text":"Hel"}\n\n'),
        ),
        APIRoute(
            "/api/v1/events",
            hear_events,
            tags=["events"],
            summary="Hear what happens",
            response_class=StreamingResponse,
            responses=_streamed(_EVENTS, 'id: 0…\nevent: agent.created\ndata: {"agentName":"llama", …}\n\n'),
        ),
        APIRoute(
            EXPORT_PATH,
            export_audit,
            tags=["audit"],
            summary="Export the audit log, or a part of it",
            response_class=StreamingResponse,
            responses=_EXPORTED,
        ),
        APIRoute(
            STREAM_PATH,
            follow_audit,
            tags=["audit"],
            summary="Follow the audit log as it grows",
            response_class=StreamingResponse,
            responses=_streamed(_ENTRIES, 'id: 41\nevent: entry\ndata: {"index":41, …}\n\n'),
        ),
        APIRoute(
            CHAT,
            complete_chat,
            methods=["POST"],
            tags=["openai"],
            summary="Complete a chat",
            response_model=ChatCompletion,
            responses=_streamed(_CHAT_EVENTS, 'data: {"object":"chat.completion.chunk", …}\n\ndata: [DONE]\n\n'),
        ),
        APIRoute(
            EMBEDDINGS,
            create_embeddings,
            methods=["POST"],
            tags=["openai"],
            summary="Make embeddings of texts",
            response_model=EmbeddingList,
        ),
        APIRoute("/v1/models", list_models, tags=["openai"], summary="List the models", response_model=ModelList),
        APIRoute("/v1/models/{model}", get_model, tags=["openai"], summary="One model", response_model=Model),
    ]


def schemas_of_events() -> dict[str, Any]:
    """The schemas of what events tell, which no route's own models name."""
    models = (AgentHealthChanged, AgentChanged, IntegrityChanged, StreamDropped, StreamEnded)
    _, found = models_json_schema(
        [(model, "serialization") for model in models], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _streamed(events: str, example: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "string", "description": events}
    return {200: {"content": {"text/event-stream": {"schema": schema, "examples": {"events": {"value": example}}}}}}
