"""Keys of bus agents: who may have one. What holds them is the bus; here they are only recorded."""

from typing import Protocol

from orchestrator.application.registry import Snapshot
from orchestrator.domain.agent import Agent, AgentNotFound, name_key
from shared.audit import AuditTrail, Resource
from shared.bus import CallContext
from shared.contracts.audit import Action
from shared.errors import FieldError, Forbidden, InvalidFields
from shared.principal import PrincipalKind


class KnownAgents(Protocol):
    """All agents."""

    async def current(self) -> Snapshot:
        """The agents as they are now."""
        ...


class AgentKeys:
    """The use case of keys."""

    def __init__(self, agents: KnownAgents, trail: AuditTrail) -> None:
        self._agents = agents
        self._trail = trail

    async def issue(self, id_or_name: str, public_key: str, context: CallContext) -> Agent:
        """The bus agent that this key is for, which the log has before the bus lets the key in.

        Raises Forbidden for anybody but the local operator, AgentNotFound, and InvalidFields for another type of agent.
        """
        caller = context.principal
        if caller.kind is not PrincipalKind.LOCAL_OPERATOR:
            raise Forbidden("Only the local operator may make keys for agents.")
        agent = _found(await self._agents.current(), id_or_name)
        if agent.type != "bus":
            message = f"{agent.name} is of type {agent.type}; only agents of type bus have keys"
            raise InvalidFields(f"{message}.", errors=(FieldError("agent", message),))
        details = {"name": agent.name, "publicKey": public_key, "localUser": caller.credential_id}
        async with self._trail.change(Action.AGENT_KEY_CREATED, Resource("agent", agent.id), context, details):
            return agent


def _found(snapshot: Snapshot, id_or_name: str) -> Agent:
    by_name = {name_key(agent.name): agent for agent in snapshot.agents}
    found = snapshot.by_id.get(id_or_name) or by_name.get(name_key(id_or_name))
    if found is None:
        raise AgentNotFound(id_or_name)
    return found
