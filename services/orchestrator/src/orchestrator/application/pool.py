"""The pool: the registry and the monitor together, and the choice of an agent for a piece of work."""

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from orchestrator.application.concurrency import Concurrency
from orchestrator.application.monitor import FIRST_CHECK_WITHIN_S, Monitor
from orchestrator.application.registry import Registry, Snapshot
from orchestrator.domain.agent import Agent, AgentNotFound
from orchestrator.domain.choice import Rotation
from shared.errors import ErrorCode, FieldError, InvalidFields, PlatformError, Unavailable

MAX_WISHES = 1024
BETTER_WITHIN_S = 0.25
"""How long work waits for the first probe of an agent of better priority while others could do it."""
QUEUE_WITHIN_S = 2.0
"""How long work waits for an agent that is full."""
RETRY_AFTER_S = 5
RETRY_AFTER_MAINTENANCE_S = 30


class NoAgentAvailable(Unavailable):
    """No agent can be given this work now."""


class NoHealthyAgents(NoAgentAvailable):
    """No agent that matches takes work now."""

    reason = "no-healthy-agents"

    def __init__(self, detail: str, *, retry_after: int = RETRY_AFTER_S) -> None:
        super().__init__(detail, retry_after=retry_after)


class AgentInMaintenance(NoAgentAvailable):
    """The agent that is named is in maintenance."""

    reason = "agent-in-maintenance"

    def __init__(self, agent: Agent) -> None:
        super().__init__(f"Agent {agent.name} is in maintenance.", retry_after=RETRY_AFTER_MAINTENANCE_S)


class AgentsBusy(NoAgentAvailable):
    """All agents that match work on as many calls as they may."""

    reason = "agents-busy"

    def __init__(self, agents: Sequence[Agent]) -> None:
        names = f"Agent {agents[0].name} works" if len(agents) == 1 else f"The {len(agents)} agents that fit work"
        super().__init__(f"{names} on as many requests as {'it' if len(agents) == 1 else 'they'} may.")


class KiloUnavailable(NoHealthyAgents):
    """Kilo cannot be reached."""

    reason = "kilo-unavailable"


class ModelNotAllowed(PlatformError):
    """The caller's API key may not use this model."""

    code = ErrorCode.FORBIDDEN
    reason = "model-not-allowed"

    def __init__(self, model: str) -> None:
        super().__init__(f"This API key may not use the model {model}.")


Models = tuple[str, ...] | None
"""The only models that a caller may use; None for all."""

Wish = tuple[str | None, tuple[str, ...], Models, bool]
"""A model, tags, sorted, the models that are allowed, and whether embeddings are wanted."""


class Work:
    """A piece of work that an agent was given. One of the three says how it went, and `end` that it is over."""

    __slots__ = ("_concurrency", "_is_trial", "_monitor", "agent")

    def __init__(self, agent: Agent, monitor: Monitor, concurrency: Concurrency) -> None:
        self.agent = agent
        self._monitor = monitor
        self._concurrency = concurrency
        self._is_trial = monitor.begins(agent)

    def succeeded(self) -> None:
        """The agent has done it."""
        self._is_trial = False
        self._monitor.succeeded(self.agent)

    def failed(self, words: str) -> None:
        """The agent has not done it."""
        is_trial, self._is_trial = self._is_trial, False
        self._monitor.failed(self.agent, words, is_trial=is_trial)

    def refused(self) -> None:
        """The agent found fault with it."""
        is_trial, self._is_trial = self._is_trial, False
        self._monitor.refused(self.agent, is_trial=is_trial)

    def end(self) -> None:
        """The agent works on it no longer."""
        if self._is_trial:
            self._monitor.ended_untold(self.agent)
        self._concurrency.leave(self.agent)


@dataclass(slots=True)
class _Order:
    """Those that take work of one wish, by priority, the highest first; `by_priority` keeps their places."""

    as_of: tuple[int, int, int] = (-1, -1, -1)
    rotations: list[Rotation[Agent]] = field(default_factory=list)
    by_priority: dict[int, Rotation[Agent]] = field(default_factory=dict)


class Pool:
    """Agents as they are now, with their health, and the fair choice among those that fit."""

    def __init__(self, registry: Registry, monitor: Monitor) -> None:
        self._registry = registry
        self._monitor = monitor
        self._concurrency = Concurrency()
        self._orders: dict[Wish, _Order] = {}

    async def current(self) -> Snapshot:
        """The agents as they are now, each of them watched."""
        snapshot = await self._registry.current()
        self._monitor.follow(snapshot)
        return snapshot

    async def checked(self, *ids: str) -> Snapshot:
        """The same, after the first probes of these agents, or of all, unless those take longer than a second."""
        snapshot = await self.current()
        if await self._monitor.first_checks(*ids):
            return await self.current()  # there may be others by now
        return snapshot

    async def give(
        self,
        agent_id: str | None,
        model: str | None,
        tags: Sequence[str],
        models: Models = None,
        *,
        embeds: bool = False,
        tried: Sequence[Agent] = (),
        within_s: float = QUEUE_WITHIN_S,
    ) -> Work:
        """Gives work to the named agent, or to the next of those with that model, one of `models` and those tags.

        With `embeds` only to one that has embeddings, and not to those that were `tried`. Where all that fit are full
        it waits for one, for QUEUE_WITHIN_S or `within_s`. An echo never stands in for an agent of another type that
        was tried or is full.

        Raises AgentNotFound, NoAgentAvailable, InvalidFields when the named agent is of another model, and
        ModelNotAllowed when it, or the model that is asked for, is none of `models`.
        """
        if models is not None and model is not None and model not in models:
            raise ModelNotAllowed(model)
        wish = (model, tuple(sorted(set(tags))) if tags else (), models, embeds)
        until_s: float | None = None
        while True:
            if agent_id is None:
                free, full = self._choice(await self._checked_for(wish, tried), wish, tried)
            else:
                free, full = self._named(await self.checked(agent_id), agent_id, wish)
            if free is not None:
                self._concurrency.take(free)
                return self._work(free)
            until_s = until_s or time.monotonic() + min(within_s, QUEUE_WITHIN_S)
            given = await self._concurrency.wait(full, within_s=max(until_s - time.monotonic(), 0))
            if given is None:
                raise AgentsBusy(full)
            agent = self._monitor.agents.get(given.id)
            if agent is not None and self._monitor.is_free(agent):
                return self._work(agent)
            self._concurrency.leave(given)  # it fell ill, or was removed, while this waited

    def _work(self, agent: Agent) -> Work:
        return Work(agent, self._monitor, self._concurrency)

    async def _checked_for(self, wish: Wish, tried: Sequence[Agent]) -> Snapshot:
        snapshot = await self.current()
        while self._monitor.has_unchecked and await self._first_check(snapshot, wish, tried):
            snapshot = await self.current()  # there may be others by now
        return snapshot

    async def _first_check(self, snapshot: Snapshot, wish: Wish, tried: Sequence[Agent]) -> bool:
        """Waits for the first probe of an agent that would be better than those at hand; whether there was any."""
        out = {agent.id for agent in tried}
        rotations = [each for each in self._rotations(snapshot, wish) if any(one.id not in out for one in each.members)]
        priority = rotations[0].members[0].priority if rotations else 0
        better = [agent.id for agent in self._monitor.unchecked if agent.priority > priority and _fits(agent, wish)]
        within_s = BETTER_WITHIN_S if rotations else FIRST_CHECK_WITHIN_S
        return await self._monitor.a_first_check(better, within_s=within_s)

    def _named(self, snapshot: Snapshot, id: str, wish: Wish) -> "_Choice":
        model, tags, models, embeds = wish
        agent = snapshot.by_id.get(id)
        if agent is None:
            raise AgentNotFound(id)
        if models is not None and agent.model not in models:
            raise ModelNotAllowed(agent.model)
        if not agent.serves(model, tags, embeds=embeds):
            message = "this agent has another model, lacks one of the tags or has no embeddings"
            raise InvalidFields("The agent does not fit the rest.", errors=(FieldError("agentId", message),))
        if agent.in_maintenance:
            raise AgentInMaintenance(agent)
        if not self._monitor.is_free(agent):
            failure = KiloUnavailable if agent.type == "kilo" else NoHealthyAgents
            words = f"Agent {agent.name} is offline. {self._monitor.health(id).details}"
            raise failure(words, retry_after=self._retry_after([agent]))
        return (None, [agent]) if id in self._concurrency.full else (agent, [])

    def _choice(self, snapshot: Snapshot, wish: Wish, tried: Sequence[Agent]) -> "_Choice":
        rotations = self._rotations(snapshot, wish)
        full, on_trial = self._concurrency.full, self._monitor.on_trial
        if rotations and not (tried or full or on_trial):
            return rotations[0].pick(), []
        were_tried = {agent.id for agent in tried}
        out = full | on_trial | were_tried
        echo_may = all(agent.type == "echo" for agent in tried)
        waited_for: list[Agent] = []
        for rotation in rotations:
            passed_over = [agent for agent in rotation.members if agent.id in out]
            echo_may = echo_may and all(agent.type == "echo" for agent in passed_over)
            agent = rotation.pick_among(_may_be_picked(out, echo_may=echo_may))
            if agent is not None:
                return agent, []
            waited_for += [a for a in passed_over if a.id in full - were_tried and (echo_may or a.type != "echo")]
        if not waited_for:
            raise self._nobody(snapshot, wish)
        return None, waited_for

    def _rotations(self, snapshot: Snapshot, wish: Wish) -> list[Rotation[Agent]]:
        order = self._orders.get(wish)
        as_of = (snapshot.number, self._monitor.generation, self._monitor.warming)
        if order is not None and order.as_of == as_of:
            return order.rotations
        order = self._orders.pop(wish, None) or _Order()
        self._orders[wish] = order  # used last, forgotten last: wishes come from strangers, and there is no end of them
        if len(self._orders) > MAX_WISHES:
            del self._orders[next(iter(self._orders))]
        order.as_of, order.rotations = as_of, self._found(snapshot, wish, order.by_priority)
        return order.rotations

    def _found(self, snapshot: Snapshot, wish: Wish, by_priority: dict[int, Rotation[Agent]]) -> list[Rotation[Agent]]:
        fitting: dict[int, list[Agent]] = {}
        for agent in snapshot.agents:
            if _fits(agent, wish) and self._monitor.takes_work(agent):
                fitting.setdefault(agent.priority, []).append(agent)
        for priority, agents in fitting.items():
            by_priority.setdefault(priority, Rotation()).follow(
                agents,
                [agent.id for agent in agents],
                [agent.weight for agent in agents],
                [self._monitor.warmth(agent) for agent in agents],
            )
        return [by_priority[priority] for priority in sorted(fitting, reverse=True)]

    def _nobody(self, snapshot: Snapshot, wish: Wish) -> NoHealthyAgents:
        fitting = [agent for agent in snapshot.agents if _fits(agent, wish)]
        at_work = [agent for agent in fitting if not agent.in_maintenance]
        if at_work:
            words = f"None of the {len(at_work)} agents that fit is online."
            return NoHealthyAgents(words, retry_after=self._retry_after(at_work))
        if fitting:
            words = f"All of the {len(fitting)} agents that fit are in maintenance."
            return NoHealthyAgents(words, retry_after=RETRY_AFTER_MAINTENANCE_S)
        model, tags, models, embeds = wish
        if models is not None:
            return NoHealthyAgents("No agent is registered that this API key may use for this.")
        for_this = " for this model and these tags" if model or tags else " that has embeddings" if embeds else ""
        return NoHealthyAgents(f"No agent is registered{for_this}.")

    def _retry_after(self, agents: Sequence[Agent]) -> int:
        """When the first of their circuits may be closed."""
        return min(self._seconds_to_trial(agent) for agent in agents)

    def _seconds_to_trial(self, agent: Agent) -> int:
        until_trial_s = self._monitor.until_trial_s(agent)
        return RETRY_AFTER_S if until_trial_s is None else max(math.ceil(until_trial_s), 1)


def _fits(agent: Agent, wish: Wish) -> bool:
    model, tags, models, embeds = wish
    return agent.serves(model, tags, models, embeds=embeds)


_Choice = tuple[Agent | None, Sequence[Agent]]
"""The agent that is chosen; or None, and those that are waited for."""


def _may_be_picked(out: Collection[str], *, echo_may: bool) -> Callable[[Agent], bool]:
    return lambda agent: agent.id not in out and (echo_may or agent.type != "echo")
