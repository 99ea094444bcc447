"""Use cases of agents: register, look, change, remove, check."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pydantic import SecretStr

from orchestrator.application.agent_fields import described, require_storable, values_of
from orchestrator.application.monitor import Monitor
from orchestrator.application.pool import Pool
from orchestrator.application.registry import AgentStore
from orchestrator.domain.agent import (
    Agent,
    AgentId,
    AgentNotFound,
    StaleAgent,
    require_fitting_endpoint,
    require_may_have_key,
)
from orchestrator.domain.health import Health
from shared.audit import AuditTrail, Resource
from shared.bus import CallContext
from shared.contracts.audit import Action
from shared.contracts.events import AgentChange
from shared.contracts.orchestrator import AgentChanges, ListAgents, RegisterAgent
from shared.ids import is_id
from shared.paging import Cursors
from shared.principal import Role


class EndpointCheck(Protocol):
    """Whether an endpoint may be used."""

    async def permit(self, endpoint: str) -> str:
        """The endpoint in its canonical spelling; raises EndpointNotAllowed."""
        ...

    def origin(self, endpoint: str) -> str:
        """Whom a request to this endpoint reaches: scheme, host and port."""
        ...


class Sealer(Protocol):
    """Encrypts agents' credentials."""

    def seal(self, agent_id: str, origin: str, key: str) -> str:
        """The key as it may be stored, bound to this agent and to whom requests to its endpoint reach."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """An agent with its health."""

    agent: Agent
    health: Health


@dataclass(frozen=True, slots=True)
class Page:
    """Some agents in the order they were registered; `next_cursor` is None on the last page."""

    items: list[Seen]
    next_cursor: str | None


class Agents:
    """The agents' use cases. `announce` tells all replicas, this one first, of a new version of the registry, and
    whoever watches what has become of which agent.
    """

    def __init__(
        self,
        *,
        store: AgentStore,
        pool: Pool,
        monitor: Monitor,
        trail: AuditTrail,
        endpoints: EndpointCheck,
        sealer: Sealer,
        cursors: Cursors,
        announce: Callable[[int, Agent, AgentChange], Awaitable[None]],
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._pool = pool
        self._monitor = monitor
        self._trail = trail
        self._endpoints = endpoints
        self._sealer = sealer
        self._cursors = cursors
        self._announce = announce
        self._now = now
        self._new_id = new_id

    async def register(self, wish: RegisterAgent, context: CallContext) -> Seen:
        """Adds an agent and probes it; raises Forbidden, InvalidFields, EndpointNotAllowed or AgentNameTaken."""
        context.principal.must_be(Role.OPERATOR)
        require_fitting_endpoint(wish.type, wish.endpoint)
        if wish.api_key is not None:
            require_may_have_key(wish.type)
        require_storable(wish.metadata)
        id, now = AgentId(self._new_id()), self._now()
        endpoint = None if wish.endpoint is None else await self._endpoints.permit(wish.endpoint)
        agent = Agent(
            id=id,
            name=wish.name,
            type=wish.type,
            endpoint=endpoint,
            model=wish.model,
            sealed_key=self._sealed(id, endpoint, wish.api_key),
            max_tokens=wish.max_tokens,
            temperature=wish.temperature,
            priority=wish.priority,
            weight=wish.weight,
            max_concurrency=wish.max_concurrency,
            tags=tuple(dict.fromkeys(wish.tags)),
            metadata=wish.metadata,
            created_at=now,
            updated_at=now,
        )
        async with self._trail.change(Action.AGENT_CREATED, _resource(id), context, described(values_of(agent))):
            number = await self._store.add(agent)
            await self._announce(number, agent, "created")
        return await self._checked(id)

    async def list(self, wish: ListAgents, context: CallContext) -> Page:
        """A page of the agents that pass the filters."""
        context.principal.must_be(Role.VIEWER)
        after = "" if wish.cursor is None else self._cursors.position(wish.cursor)
        snapshot = await self._pool.checked()
        found: list[Seen] = []
        for agent in snapshot.agents:
            if (
                agent.id <= after
                or (wish.type and agent.type != wish.type)
                or (wish.tag and wish.tag not in agent.tags)
            ):
                continue
            health = self._monitor.health(agent.id)
            if wish.status and health.status != wish.status:
                continue
            if len(found) == wish.limit:
                return Page(found, self._cursors.after(found[-1].agent.id))
            found.append(Seen(agent, health))
        return Page(found, None)

    async def get(self, id: str, context: CallContext) -> Seen:
        """One agent; raises AgentNotFound."""
        context.principal.must_be(Role.VIEWER)
        agent = (await self._pool.checked(id)).by_id.get(id)
        if agent is None:
            raise AgentNotFound(id)
        return Seen(agent, self._monitor.health(id))

    async def update(self, id: str, changes: AgentChanges, if_version: int | None, context: CallContext) -> Seen:
        """Changes the fields that are given.

        Raises AgentNotFound, InvalidFields, EndpointNotAllowed, AgentNameTaken, and StaleAgent unless the agent is at
        `if_version`, when that is given. A key goes only where it was given for: an endpoint elsewhere drops it.
        """
        context.principal.must_be(Role.OPERATOR)
        agent = await self._existing(id)
        _require_version(agent, if_version)
        fields = await self._fields(agent, changes)
        applied: dict[str, Any] = {}

        def change(now: Agent) -> Agent:
            _require_version(now, if_version)
            applied.update(fields, **self._key_of(now, fields.get("endpoint", now.endpoint), changes))
            return now.changed(applied, at=self._now())

        wished = fields | ({"sealed_key": None} if "api_key" in changes.model_fields_set else {})
        async with self._trail.change(Action.AGENT_UPDATED, _resource(id), context, described(wished)) as recorded:
            number = await self._store.change(agent.id, change)
            recorded.details.update(described(applied))
            await self._announce(number, agent, "updated")
        if {"endpoint", "model", "sealed_key"} & applied.keys():
            return await self._checked(id)
        return await self.get(id, context)

    async def maintain(self, id: str, enabled: bool, context: CallContext) -> Seen:
        """Takes an agent out of the choice or puts it back; calls in flight go on. Raises AgentNotFound.

        An agent that is as it shall be stays at its version.
        """
        context.principal.must_be(Role.OPERATOR)
        agent = await self._existing(id)
        action = Action.AGENT_MAINTENANCE_BEGUN if enabled else Action.AGENT_MAINTENANCE_ENDED
        async with self._trail.change(action, _resource(id), context, {"name": agent.name}):
            number = await self._store.change(agent.id, lambda now: now.maintained(enabled, at=self._now()))
            await self._announce(number, agent, "maintenance_begun" if enabled else "maintenance_ended")
        return await self.get(id, context)

    async def remove(self, id: str, context: CallContext) -> None:
        """Removes an agent; raises AgentNotFound."""
        context.principal.must_be(Role.ADMIN)
        agent = await self._existing(id)
        async with self._trail.change(Action.AGENT_DELETED, _resource(id), context, {"name": agent.name}):
            number = await self._store.remove(agent.id)
            await self._announce(number, agent, "deleted")

    async def check(self, id: str, context: CallContext) -> Health:
        """Probes an agent now; raises AgentNotFound."""
        context.principal.must_be(Role.VIEWER)
        if id not in (await self._pool.current()).by_id:
            raise AgentNotFound(id)
        return await self._monitor.check(id)

    async def _existing(self, id: str) -> Agent:
        agent = await self._store.get(AgentId(id)) if is_id(id) else None
        if agent is None:
            raise AgentNotFound(id)
        return agent

    async def _checked(self, id: str) -> Seen:
        agent = (await self._pool.current()).by_id.get(id)
        if agent is None:
            raise AgentNotFound(id)  # removed again meanwhile
        health = await self._monitor.check(id)
        return Seen(agent, health)

    async def _fields(self, agent: Agent, changes: AgentChanges) -> dict[str, Any]:
        fields = {name: getattr(changes, name) for name in sorted(changes.model_fields_set - {"api_key"})}
        if changes.api_key is not None:
            require_may_have_key(agent.type)
        if "metadata" in fields:
            require_storable(fields["metadata"])
        if "tags" in fields:
            fields["tags"] = tuple(dict.fromkeys(fields["tags"]))
        if "endpoint" in fields:
            require_fitting_endpoint(agent.type, fields["endpoint"])
            fields["endpoint"] = await self._endpoints.permit(fields["endpoint"])
        return fields

    def _key_of(self, agent: Agent, endpoint: str | None, changes: AgentChanges) -> dict[str, str | None]:
        """What becomes of the key when the agent, as it is at this moment, is at `endpoint` from now on."""
        if "api_key" in changes.model_fields_set:
            return {"sealed_key": self._sealed(agent.id, endpoint, changes.api_key)}
        if agent.sealed_key is not None and self._origin(agent.endpoint) != self._origin(endpoint):
            return {"sealed_key": None}  # or whoever may change the endpoint could have it sent to theirs
        return {}

    def _sealed(self, id: AgentId, endpoint: str | None, key: SecretStr | None) -> str | None:
        return None if key is None else self._sealer.seal(id, self._origin(endpoint), key.get_secret_value())

    def _origin(self, endpoint: str | None) -> str:
        return "" if endpoint is None else self._endpoints.origin(endpoint)


def _resource(id: str) -> Resource:
    return Resource("agent", id)


def _require_version(agent: Agent, if_version: int | None) -> None:
    if if_version is not None and agent.version != if_version:
        raise StaleAgent
