"""Agents: registering, changing, removing, checking."""

from fastapi import APIRouter, Response, status

from edge.routes.call import CurrentCall
from edge.routes.etags import IfMatch, tagged, wanted_version
from edge.routes.replies import json_reply, no_content
from shared.bus import Bus
from shared.contracts.orchestrator import (
    CHECK_AGENT,
    GET_AGENT,
    MAINTAIN_AGENT,
    REGISTER_AGENT,
    REMOVE_AGENT,
    UPDATE_AGENT,
    Agent,
    AgentChanges,
    AgentHealth,
    GetAgent,
    MaintainAgent,
    Maintenance,
    RegisterAgent,
    UpdateAgent,
)


def agent_routes(bus: Bus) -> APIRouter:
    """The routes under /agents but `GET /agents`, which is hot."""
    router = APIRouter(prefix="/api/v1/agents", tags=["agents"])

    @router.post("", summary="Register an agent", status_code=201, response_model=Agent)
    async def register(body: RegisterAgent, call: CurrentCall) -> Response:
        agent = await bus.call(REGISTER_AGENT, body, call.changing)
        reply = tagged(agent, agent.version, status_code=status.HTTP_201_CREATED)
        reply.headers["location"] = f"/api/v1/agents/{agent.id}"
        return reply

    @router.get("/{agent_id}", summary="One agent", response_model=Agent)
    async def get(agent_id: str, call: CurrentCall) -> Response:
        agent = await bus.call(GET_AGENT, GetAgent(id=agent_id), call.reading)
        return tagged(agent, agent.version)

    @router.put("/{agent_id}", summary="Change an agent", response_model=Agent)
    async def update(agent_id: str, body: AgentChanges, call: CurrentCall, if_match: IfMatch = None) -> Response:
        request = UpdateAgent(id=agent_id, if_version=wanted_version(if_match, "agent"), changes=body)
        agent = await bus.call(UPDATE_AGENT, request, call.changing)
        return tagged(agent, agent.version)

    @router.delete("/{agent_id}", summary="Remove an agent", status_code=204)
    async def remove(agent_id: str, call: CurrentCall) -> Response:
        await bus.call(REMOVE_AGENT, GetAgent(id=agent_id), call.changing)
        return no_content()

    @router.get("/{agent_id}/health", summary="Check an agent now", response_model=AgentHealth)
    async def check(agent_id: str, call: CurrentCall) -> Response:
        return json_reply(await bus.call(CHECK_AGENT, GetAgent(id=agent_id), call.changing))

    @router.post("/{agent_id}/maintenance", summary="Begin or end an agent's maintenance", response_model=Agent)
    async def maintain(agent_id: str, body: Maintenance, call: CurrentCall) -> Response:
        agent = await bus.call(MAINTAIN_AGENT, MaintainAgent(id=agent_id, maintenance=body), call.changing)
        return tagged(agent, agent.version)

    return router
