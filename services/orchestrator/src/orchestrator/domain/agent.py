"""Agents: what can be asked to answer, and the refusals that their rules give."""

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NewType, Self
from urllib.parse import urlsplit

from shared.errors import ErrorCode, FieldError, InvalidFields, PlatformError

AgentId = NewType("AgentId", str)
AgentType = Literal["ollama", "openai", "anthropic", "custom", "kilo", "bus", "echo"]

WITHOUT_ENDPOINT: frozenset[AgentType] = frozenset({"kilo", "bus", "echo"})
"""Types that have no endpoint and no API key of their own.

The echo is built in, Kilo's are kilo-bridge's, and bus agents connect by themselves."""

WITH_EMBEDDINGS: frozenset[AgentType] = frozenset({"ollama", "openai", "custom", "bus", "echo"})
"""Types that have embeddings, if their model has."""

_ADDED_PATHS: dict[AgentType, tuple[str, ...]] = {
    "ollama": ("/api/chat", "/api/embed"),
    "openai": ("/chat/completions", "/embeddings"),
    "custom": ("/chat/completions", "/embeddings"),
    "anthropic": ("/v1", "/v1/messages"),
}
"""What is added to endpoints of a type, and people are tempted to give with them."""


DEFAULT_CONCURRENCY = 100
"""Calls that one replica has an agent work on at once."""


class AgentNotFound(PlatformError):
    """No agent has this id."""

    code = ErrorCode.NOT_FOUND
    reason = "agent-not-found"

    def __init__(self, id: str) -> None:
        super().__init__(f"There is no agent {id}.")


class AgentNameTaken(PlatformError):
    """Another agent has this name, give or take upper and lower case."""

    code = ErrorCode.CONFLICT
    reason = "agent-name-taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"Another agent is already called {name}.")


class StaleAgent(PlatformError):
    """The agent has changed since the caller saw it."""

    code = ErrorCode.PRECONDITION_FAILED
    reason = "stale-agent"

    def __init__(self) -> None:
        super().__init__("Somebody has changed this agent meanwhile; look at it again.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent of the pool. `sealed_key` is its encrypted credential; `version` grows by one with each change."""

    id: AgentId
    name: str
    type: AgentType
    endpoint: str | None
    model: str
    sealed_key: str | None = field(default=None, repr=False)
    max_tokens: int
    temperature: float
    priority: int
    weight: int
    max_concurrency: int = DEFAULT_CONCURRENCY
    in_maintenance: bool = False
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    created_at: datetime
    updated_at: datetime
    version: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.weight <= 100 or not 1 <= self.priority <= 10:
            raise ValueError("an agent's weight is between 1 and 100, its priority between 1 and 10")
        if not 1 <= self.max_concurrency <= 1000:
            raise ValueError("an agent works on 1 to 1000 calls at once")
        if (self.endpoint is None) != (self.type in WITHOUT_ENDPOINT):
            raise ValueError("an agent has an endpoint exactly when its type needs one")

    @property
    def connection(self) -> tuple[str | None, ...]:
        """What decides how the agent fares; its health is forgotten when any of this changes."""
        return (self.endpoint, self.model, self.sealed_key)

    @property
    def host(self) -> str:
        """What it shares with others: the host that its endpoint names. A bus agent is alone; empty for the rest."""
        return self.id if self.type == "bus" else urlsplit(self.endpoint or "").hostname or ""

    def serves(
        self,
        model: str | None,
        tags: Iterable[str],
        models: Collection[str] | None = None,
        *,
        embeds: bool = False,
    ) -> bool:
        """Whether it is of that model, when one is asked for, has all of those tags, and is of one of `models`.

        With `embeds` also whether it is of a type that has embeddings.
        """
        return (
            (model is None or model == self.model)
            and (not embeds or self.type in WITH_EMBEDDINGS)
            and (models is None or self.model in models)
            and all(tag in self.tags for tag in tags)
        )

    def changed(self, fields: dict[str, Any], *, at: datetime) -> Self:
        """The agent at its next version, with those fields replaced."""
        return replace(self, **fields, updated_at=at, version=self.version + 1)

    def maintained(self, enabled: bool, *, at: datetime) -> Self:
        """The agent in maintenance, or out of it."""
        return self if enabled is self.in_maintenance else self.changed({"in_maintenance": enabled}, at=at)


def name_key(name: str) -> str:
    """What two names share that people would take for the same."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def require_fitting_endpoint(type: AgentType, endpoint: str | None) -> None:
    """Raises InvalidFields unless there is an endpoint exactly for the types that need one, and only its base."""
    if type in WITHOUT_ENDPOINT and endpoint is not None:
        raise _invalid_endpoint(f"an agent of type {type} has none")
    if type not in WITHOUT_ENDPOINT and endpoint is None:
        raise _invalid_endpoint(f"an agent of type {type} needs one")
    for path in _ADDED_PATHS.get(type, ()):
        if endpoint is not None and endpoint.rstrip("/").endswith(path):
            raise _invalid_endpoint(f"give it without {path} at its end, which is added for an agent of type {type}")


def require_may_have_key(type: AgentType) -> None:
    """Raises InvalidFields for the types that are never asked with an API key."""
    if type in WITHOUT_ENDPOINT:
        message = f"an agent of type {type} has none"
        raise InvalidFields("The API key does not fit the agent's type.", errors=(FieldError("apiKey", message),))


def _invalid_endpoint(message: str) -> InvalidFields:
    return InvalidFields("The endpoint does not fit the agent's type.", errors=(FieldError("endpoint", message),))
