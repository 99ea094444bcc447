"""What the tests ask for again and again."""

from shared.bus import Bus
from shared.contracts.orchestrator import (
    DISPATCH,
    GET_AGENT,
    LIST_AGENTS,
    REGISTER_AGENT,
    REMOVE_AGENT,
    Agent,
    Dispatch,
    Dispatched,
    GetAgent,
    ListAgents,
    RegisterAgent,
)
from shared.principal import Role
from tests.integration.orchestrator.cluster import by
from tests.integration.orchestrator.upstreams import Upstream


async def register(edge: Bus, server: Upstream, name: str = "llama", type: str = "openai", **fields: object) -> Agent:
    """An agent at that upstream, of priority 5: above the built-in ones."""
    endpoint = server.address + ("/v1" if type == "openai" else "")
    wish = {"name": name, "type": type, "endpoint": endpoint, "model": "m", **fields}
    return await edge.call(REGISTER_AGENT, RegisterAgent.model_validate(wish), by(Role.OPERATOR))


async def dispatch(edge: Bus, message: str = "Hello", *, seconds: float = 10, **fields: object) -> Dispatched:
    wish = Dispatch.model_validate({"message": message, **fields})
    return await edge.call(DISPATCH, wish, by(Role.OPERATOR, seconds=seconds))


async def look(edge: Bus, id: str) -> Agent:
    return await edge.call(GET_AGENT, GetAgent(id=id), by(Role.VIEWER))


async def remove_built_in(edge: Bus) -> None:
    for agent in (await edge.call(LIST_AGENTS, ListAgents(type="echo"), by())).items:
        await edge.call(REMOVE_AGENT, GetAgent(id=agent.id), by())
