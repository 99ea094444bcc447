"""Orders: what agents are asked for, by whichever door it came in, and what an upstream is told of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from orchestrator.application.upstreams import Take, Upstream
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion, Embeddings, Inputs

SILENCE_S = 60.0
"""How long nothing new may come of a stream."""

Answer = Completion | Embeddings


class Choice(NamedTuple):
    """Which agents may be asked: the named one, or those of that model with all of these tags."""

    agent_id: str | None = None
    model: str | None = None
    tags: Sequence[str] = ()


class Order(Protocol):
    """What is asked for."""

    @property
    def embeds(self) -> bool:
        """Whether only agents that have embeddings can do it."""
        ...

    @property
    def prompt(self) -> Sequence[str]:
        """All texts in it that cost tokens."""
        ...

    def most_tokens(self, agent: Agent) -> int:
        """How many tokens the agent may use for it at most."""
        ...

    async def ask(self, upstream: Upstream, agent: Agent, *, within_s: float) -> Answer:
        """Has the agent do it; raises UpstreamFailure."""
        ...


@dataclass(slots=True)  # not frozen: each dispatch makes one, and that would take three times as long
class ChatOrder:
    """A chat to be answered, whole."""

    chat: Chat
    embeds = False

    @property
    def prompt(self) -> Sequence[str]:
        """See Order."""
        return self.chat.texts

    def most_tokens(self, agent: Agent) -> int:
        """See Order."""
        return self.chat.most_tokens(agent.max_tokens)

    async def ask(self, upstream: Upstream, agent: Agent, *, within_s: float) -> Answer:
        """See Order."""
        return await upstream.complete(agent, self.chat, within_s=within_s)


@dataclass(slots=True)
class StreamOrder(ChatOrder):
    """A chat to be answered piece by piece; `take` has each of them from the agent that answers."""

    take: Callable[[Agent], Take]

    async def ask(self, upstream: Upstream, agent: Agent, *, within_s: float) -> Answer:
        """See Order."""
        return await upstream.stream(agent, self.chat, self.take(agent), within_s=within_s, silence_s=SILENCE_S)


@dataclass(slots=True)
class EmbeddingsOrder:
    """Texts whose embeddings are wanted."""

    inputs: Inputs
    embeds = True

    @property
    def prompt(self) -> Sequence[str]:
        """See Order."""
        return self.inputs.texts

    def most_tokens(self, agent: Agent) -> int:
        """See Order."""
        return self.inputs.most_tokens()

    async def ask(self, upstream: Upstream, agent: Agent, *, within_s: float) -> Answer:
        """See Order."""
        return await upstream.embed(agent, self.inputs, within_s=within_s)
