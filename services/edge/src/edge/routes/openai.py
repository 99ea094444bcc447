"""OpenAI's API: chat completions, embeddings and models, for its own clients. Bytes go through as they are."""

from typing import Any
from urllib.parse import unquote

import orjson

from edge.http.pipeline import HotRoutes
from edge.http.problems import openai_event
from edge.http.request import Request
from edge.http.response import Response, Streamed
from edge.identities import Known
from edge.routes.agent_work import AgentWork
from edge.routes.parameters import require_no_query
from shared.bus import Bus, Kind
from shared.contracts.openai import COMPLETE_CHAT, CREATE_EMBEDDINGS, LIST_MODELS, STREAM_CHAT
from shared.errors import ErrorCode, FieldError, PlatformError

MODELS = "/v1/models/"


class ModelNotFound(PlatformError):
    """No agent serves this model, as far as the caller may know."""

    code = ErrorCode.NOT_FOUND
    reason = "model-not-found"


def openai_routes(bus: Bus) -> HotRoutes:
    """The handlers by method and path."""
    work = AgentWork(bus)

    async def complete(request: Request, _known: Known) -> Response | Streamed:
        require_no_query(request)
        return await work.as_wanted(request, COMPLETE_CHAT, STREAM_CHAT, openai_event)

    async def embed(request: Request, _known: Known) -> Response:
        require_no_query(request)
        return await work.whole(request, CREATE_EMBEDDINGS, await request.body())

    async def list_models(request: Request, _known: Known) -> Response:
        require_no_query(request)
        return Response(200, await bus.forward(LIST_MODELS, b"{}", request.context(Kind.READ)))

    async def get_model(request: Request, _known: Known) -> Response:
        require_no_query(request)
        models = orjson.loads(await bus.forward(LIST_MODELS, b"{}", request.context(Kind.READ)))
        return Response(200, orjson.dumps(_named(unquote(request.path.removeprefix(MODELS)), models["data"])))

    return {
        ("POST", "/v1/chat/completions"): complete,
        ("POST", "/v1/embeddings"): embed,
        ("GET", "/v1/models"): list_models,
        ("GET", f"{MODELS}{{model}}"): get_model,
    }


def _named(id: str, models: list[dict[str, Any]]) -> dict[str, Any]:
    for model in models:
        if model["id"] == id:
            return model
    raise ModelNotFound("There is no such model.", errors=(FieldError("model", "must be one of GET /v1/models"),))
