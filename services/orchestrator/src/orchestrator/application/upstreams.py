"""Upstreams as the application sees them: who answers, and the ways in which that can fail."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion, Embeddings, Inputs, Piece


class UpstreamFailure(Exception):
    """An agent did not do its work. `words` say how, without secrets and without its name.

    `is_free`: it is certain to have used no tokens, because nothing was sent to it or because it refused.
    """

    def __init__(self, words: str, *, is_free: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.is_free = is_free


class UpstreamRefusal(UpstreamFailure):
    """An agent found fault with the request (4xx): nothing is wrong with the agent.

    `is_callers`: the request itself is at fault (400, 404, 413, 422), not a credential or a quota of ours.
    """

    def __init__(self, words: str, *, is_free: bool = False, is_callers: bool = False) -> None:
        super().__init__(words, is_free=is_free)
        self.is_callers = is_callers


class UpstreamTimeout(UpstreamFailure):
    """An agent did not answer in time."""


Take = Callable[[Piece], Awaitable[None]]
"""Takes what has arrived of a stream; returns when more may come, and raises when no more is wanted."""


class Upstream(Protocol):
    """Agents of one type. All methods raise UpstreamFailure, and nothing else that is expected."""

    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        """Has the agent answer the chat."""
        ...

    async def stream(self, agent: Agent, chat: Chat, take: Take, *, within_s: float, silence_s: float) -> Completion:
        """The same while each piece of the answer is handed on as soon as it is there, what `take` raises comes out.

        The whole may take `within_s`, of which nothing new may come for `silence_s`. Nothing is asked twice once a
        piece was handed on. Leaving it, by an exception or a cancellation, closes the connection to the agent at once.
        """
        ...

    async def embed(self, agent: Agent, inputs: Inputs, *, within_s: float) -> Embeddings:
        """Has the agent say where texts are in its space."""
        ...

    async def probe(self, agent: Agent, *, within_s: float) -> str:
        """Returns in words that the agent is there."""
        ...
