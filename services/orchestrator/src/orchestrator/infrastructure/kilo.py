"""Kilo, which is not reached yet."""

from orchestrator.application.upstreams import Take, UpstreamFailure
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion, Embeddings, Inputs
from orchestrator.infrastructure.dialects.options import cannot

NO_BRIDGE = "Kilo is reached through kilo-bridge, which this version does not have"


class Kilo:
    """Kilo is reached through a bridge, and this version has none."""

    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        """Raises UpstreamFailure."""
        raise UpstreamFailure(NO_BRIDGE, is_free=True)

    async def stream(self, agent: Agent, chat: Chat, take: Take, *, within_s: float, silence_s: float) -> Completion:
        """Raises UpstreamFailure."""
        raise UpstreamFailure(NO_BRIDGE, is_free=True)

    async def embed(self, agent: Agent, inputs: Inputs, *, within_s: float) -> Embeddings:
        """Raises UpstreamRefusal."""
        raise cannot("kilo agents have no embeddings")

    async def probe(self, agent: Agent, *, within_s: float) -> str:
        """Raises UpstreamFailure."""
        raise UpstreamFailure(NO_BRIDGE, is_free=True)
