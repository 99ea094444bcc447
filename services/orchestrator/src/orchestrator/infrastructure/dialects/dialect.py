"""What a dialect is: how one kind of server is asked, and what its answers mean."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion
from orchestrator.infrastructure.dialects.embeddings import EmbeddingDialect
from orchestrator.infrastructure.dialects.reading import Reading

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ModelPage:
    """Models that a server has. `next_path` is where it tells more of them."""

    names: list[str]
    next_path: str | None = None


class Dialect(Protocol):
    """What one kind of server is sent and answers. What reads an answer raises KeyError, IndexError, TypeError,
    ValueError or AttributeError when that makes no sense.
    """

    chat_path: str
    models_path: str
    always_lists_models: bool
    """Whether what does not tell its models is no server of this kind."""
    dispensable: frozenset[str]
    """Fields of requests that some models refuse, and that others need."""
    streams_json: bool
    """Whether an answer in JSON is a stream as well, of lines; otherwise it is one that came as a whole."""
    knows_choices: bool
    """Whether one request can ask for several answers."""
    embeddings: EmbeddingDialect | None

    def headers(self, key: str | None) -> Headers:
        """The headers of every request; `key` is the agent's API key."""
        ...

    def request(self, agent: Agent, chat: Chat, refused: Collection[str], *, streams: bool) -> bytes:
        """The body that has the agent's model answer, in a stream or at once, without the fields that it has refused.

        Raises UpstreamRefusal for what servers of this kind cannot be asked for.
        """
        ...

    def completion(self, body: bytes, chat: Chat) -> Completion:
        """The answer's meaning; raises UpstreamRefusal for a text that is empty because it was cut off."""
        ...

    def reading(self, chat: Chat) -> Reading:
        """What reads a streamed answer."""
        ...

    def models(self, answer: Any) -> ModelPage:
        """The models that an answer names."""
        ...


def bearer(key: str | None) -> Headers:
    """The API key as RFC 6750 has it."""
    return [] if key is None else [("authorization", f"Bearer {key}")]
