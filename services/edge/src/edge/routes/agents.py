"""Agents: registering, changing, removing, checking."""

import re

from fastapi import APIRouter, Response, status

from edge.routes.call import Call, CurrentCall
from edge.routes.replies import json_reply
from shared.bus import Bus
from shared.contracts.orchestrator import (
    CHECK_AGENT,
    GET_AGENT,
    REGISTER_AGENT,
    REMOVE_AGENT,
    UPDATE_AGENT,
    Agent,
    AgentChanges,
    AgentHealth,
    GetAgent,
    RegisterAgent,
    UpdateAgent,
)
from shared.errors import ErrorCode, PlatformError

_ETAG = re.compile(rb'"(\d{1,18})"')


class NoSuchVersion(PlatformError):
    """If-Match names a version that no agent can have here."""

    code = ErrorCode.PRECONDITION_FAILED
    reason = "stale-agent"


def agent_routes(bus: Bus) -> APIRouter:
    """The routes under /agents but `GET /agents`, which is hot."""
    router = APIRouter(prefix="/api/v1/agents", tags=["agents"])

    @router.post("", summary="Register an agent", status_code=201, response_model=Agent)
    async def register(body: RegisterAgent, call: CurrentCall) -> Response:
        agent = await bus.call(REGISTER_AGENT, body, call.changing)
        reply = _tagged(agent, status.HTTP_201_CREATED)
        reply.headers["location"] = f"/api/v1/agents/{agent.id}"
        return reply

    @router.get("/{agent_id}", summary="One agent", response_model=Agent)
    async def get(agent_id: str, call: CurrentCall) -> Response:
        return _tagged(await bus.call(GET_AGENT, GetAgent(id=agent_id), call.reading))

    @router.put("/{agent_id}", summary="Change an agent", response_model=Agent)
    async def update(agent_id: str, body: AgentChanges, call: CurrentCall) -> Response:
        request = UpdateAgent(id=agent_id, if_version=_wanted_version(call), changes=body)
        return _tagged(await bus.call(UPDATE_AGENT, request, call.changing))

    @router.delete("/{agent_id}", summary="Remove an agent", status_code=204)
    async def remove(agent_id: str, call: CurrentCall) -> Response:
        await bus.call(REMOVE_AGENT, GetAgent(id=agent_id), call.changing)
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    @router.get("/{agent_id}/health", summary="Check an agent now", response_model=AgentHealth)
    async def check(agent_id: str, call: CurrentCall) -> Response:
        return json_reply(await bus.call(CHECK_AGENT, GetAgent(id=agent_id), call.changing))

    return router


def _tagged(agent: Agent, status_code: int = status.HTTP_200_OK) -> Response:
    reply = json_reply(agent, status_code=status_code)
    reply.headers["etag"] = f'"{agent.version}"'
    return reply


def _wanted_version(call: Call) -> int | None:
    header = call.request.headers.get(b"if-match")
    if header is None or header.strip() == b"*":
        return None
    tag = _ETAG.fullmatch(header.strip())
    if tag is None:
        raise NoSuchVersion("If-Match must be the ETag of the agent as you know it.")
    return int(tag[1])
