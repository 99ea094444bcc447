"""What a dialect is, and how parts of answers are read in all of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.application.upstreams import UpstreamRefusal
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Completion, Message

MAX_TOKEN_COUNT = 2**52 - 1
"""The sum of two is a number that every reader of JSON knows (RFC 8259 section 6)."""

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

    def headers(self, key: str | None) -> Headers:
        """The headers of every request; `key` is the agent's API key."""
        ...

    def request(self, agent: Agent, messages: Sequence[Message], refused: Collection[str]) -> bytes:
        """The body that has the agent's model answer, without the fields that it has refused."""
        ...

    def completion(self, answer: Any) -> Completion:
        """The answer's meaning; raises UpstreamRefusal for one that says nothing because it was cut off."""
        ...

    def models(self, answer: Any) -> ModelPage:
        """The models that an answer names."""
        ...


def bearer(key: str | None) -> Headers:
    """The API key as RFC 6750 has it."""
    return [] if key is None else [("authorization", f"Bearer {key}")]


def text(value: object) -> str:
    """A string; raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def joined_texts(parts: object) -> str:
    """The texts among an answer's parts; what a model thinks, and calls of tools, are none."""
    if not isinstance(parts, list):
        raise TypeError("not a list")
    return "".join([text(part["text"]) for part in parts if part["type"] == "text"])


def count(value: object) -> int:
    """A number of tokens. One that makes no sense counts as none: the answer itself is still good."""
    return value if type(value) is int and 0 <= value <= MAX_TOKEN_COUNT else 0


def require_said(said: str, *, was_cut_off: bool) -> str:
    """Raises UpstreamRefusal when the tokens were used up before the model said anything."""
    if was_cut_off and not said.strip():
        raise UpstreamRefusal("its maxTokens were used up, by thinking as a rule, before it said anything; raise them")
    return said
