"""Agents over the bus: registering, looking, changing, removing, checking."""

from orchestrator.application.agents import Agents
from orchestrator.interface.views import Views
from shared.bus import NOTHING, CallContext, Endpoint, Nothing, read
from shared.contracts.orchestrator import (
    CHECK_AGENT,
    GET_AGENT,
    LIST_AGENTS,
    MAINTAIN_AGENT,
    REGISTER_AGENT,
    REMOVE_AGENT,
    UPDATE_AGENT,
    GetAgent,
    ListAgents,
    MaintainAgent,
    RegisterAgent,
    UpdateAgent,
)


def agent_endpoints(agents: Agents) -> list[Endpoint]:
    """What the orchestrator answers about its agents."""
    views = Views()

    async def register(body: bytes, context: CallContext) -> bytes:
        return views.agent(await agents.register(read(RegisterAgent, body), context))

    async def list_(body: bytes, context: CallContext) -> bytes:
        return views.page(await agents.list(read(ListAgents, body), context))

    async def get(body: bytes, context: CallContext) -> bytes:
        return views.agent(await agents.get(read(GetAgent, body).id, context))

    async def update(body: bytes, context: CallContext) -> bytes:
        request = read(UpdateAgent, body)
        return views.agent(await agents.update(request.id, request.changes, request.if_version, context))

    async def maintain(body: bytes, context: CallContext) -> bytes:
        request = read(MaintainAgent, body)
        return views.agent(await agents.maintain(request.id, request.maintenance.enabled, context))

    async def remove(request: GetAgent, context: CallContext) -> Nothing:
        await agents.remove(request.id, context)
        return NOTHING

    async def check(body: bytes, context: CallContext) -> bytes:
        id = read(GetAgent, body).id
        return views.health(id, await agents.check(id, context))

    return [
        REGISTER_AGENT.answered_in_bytes_by(register),
        LIST_AGENTS.answered_in_bytes_by(list_),
        GET_AGENT.answered_in_bytes_by(get),
        UPDATE_AGENT.answered_in_bytes_by(update),
        MAINTAIN_AGENT.answered_in_bytes_by(maintain),
        REMOVE_AGENT.answered_by(remove),
        CHECK_AGENT.answered_in_bytes_by(check),
    ]
