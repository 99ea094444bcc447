"""The hot routes as plain handlers: FastAPI's machinery would cost more than all the rest of the edge."""

from urllib.parse import parse_qsl

from pydantic import ConfigDict, ValidationError

from edge.http.pipeline import HotRoutes
from edge.http.problems import problem_event
from edge.http.request import Request
from edge.http.response import Response, Streamed
from edge.identities import Known
from edge.live_events import LiveEvents
from edge.routes.agent_work import AgentWork
from edge.routes.openai import openai_routes
from edge.routes.parameters import require_no_query
from shared.bus import Bus, Kind, write
from shared.bus.messages import invalid_fields
from shared.contracts.orchestrator import DISPATCH, LIST_AGENTS, STREAM_DISPATCH, ListAgents


class AgentsQuery(ListAgents):
    """The same as text in a query string."""

    model_config = ConfigDict(strict=False, extra="forbid")


def hot_routes(bus: Bus, events: LiveEvents) -> HotRoutes:
    """The handlers by method and path."""
    work = AgentWork(bus)

    async def me(request: Request, known: Known) -> Response:
        require_no_query(request)
        return Response(200, known.me)

    async def list_agents(request: Request, known: Known) -> Response:
        body = _agents_query(request.scope["query_string"]) if request.scope["query_string"] else b"{}"
        return Response(200, await bus.forward(LIST_AGENTS, body, request.context(Kind.READ)))

    async def dispatch(request: Request, known: Known) -> Response | Streamed:
        require_no_query(request)
        return await work.as_wanted(request, DISPATCH, STREAM_DISPATCH, problem_event)

    async def hear_events(request: Request, known: Known) -> Streamed:
        require_no_query(request)
        return events.heard_by(request, known)

    return {
        ("GET", "/api/v1/auth/me"): me,
        ("GET", "/api/v1/agents"): list_agents,
        ("POST", "/api/v1/openclaw/dispatch"): dispatch,
        ("GET", "/api/v1/events"): hear_events,
        **openai_routes(bus),
    }


def _agents_query(query: bytes) -> bytes:
    fields = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    try:
        return write(AgentsQuery.model_validate(fields))
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False, include_input=False)) from error
