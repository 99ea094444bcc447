"""Upstreams of each type that talk to a server over HTTP, without the rest of the platform."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.domain.agent import Agent, AgentType
from orchestrator.domain.chat import Chat, Completion, Delta, Piece
from orchestrator.domain.endpoint import EndpointPolicy
from orchestrator.infrastructure.dialects.anthropic import Anthropic
from orchestrator.infrastructure.dialects.ollama import Ollama
from orchestrator.infrastructure.dialects.openai import Custom, OpenAi
from orchestrator.infrastructure.endpoint_guard import EndpointGuard
from orchestrator.infrastructure.guarded_http import open_http
from orchestrator.infrastructure.http_upstream import HttpUpstream
from orchestrator.infrastructure.sealed_secrets import SealedSecrets
from tests.integration.orchestrator.anthropic_like import KEY
from tests.integration.orchestrator.upstreams import Upstream
from tests.unit.orchestrator.agents import agent

BASES: dict[AgentType, str] = {"openai": "/v1", "custom": "/some/base"}


@dataclass
class Talk:
    """Asks the server as an agent of some type does, and keeps what is handed on."""

    server: Upstream
    upstreams: dict[AgentType, HttpUpstream]
    secrets: SealedSecrets
    pieces: list[Piece] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with the first piece."""

    def agent(self, type: AgentType) -> Agent:
        sealed = self.secrets.seal("a", self.server.address, KEY)
        endpoint = self.server.address + BASES.get(type, "")
        return agent("a", type=type, endpoint=endpoint, sealed_key=sealed, max_tokens=77, temperature=0.5)

    async def complete(self, type: AgentType, chat: Chat, *, within_s: float = 5) -> Completion:
        return await self.upstreams[type].complete(self.agent(type), chat, within_s=within_s)

    async def stream(self, type: AgentType, chat: Chat, *, within_s: float = 5, silence_s: float = 5) -> Completion:
        upstream = self.upstreams[type]
        return await upstream.stream(self.agent(type), chat, self.take, within_s=within_s, silence_s=silence_s)

    async def take(self, piece: Piece) -> None:
        self.pieces.append(piece)
        self.begun.set()

    @property
    def steps(self) -> Sequence[Delta]:
        return [step for piece in self.pieces if not isinstance(piece, bytes) for step in piece]

    @property
    def passed(self) -> bytes:
        return b"".join(piece for piece in self.pieces if isinstance(piece, bytes))


@asynccontextmanager
async def talking(server: Upstream) -> AsyncIterator[Talk]:
    """All types that are reached over HTTP, at that server."""
    secrets = SealedSecrets(b"k" * 32)
    async with open_http(EndpointGuard(EndpointPolicy([f"127.0.0.1:{server.port}"]))) as http:
        dialects: dict[AgentType, Any] = {
            "openai": OpenAi(),
            "custom": Custom(),
            "anthropic": Anthropic(),
            "ollama": Ollama(),
        }
        yield Talk(server, {type: HttpUpstream(http, secrets, dialect) for type, dialect in dialects.items()}, secrets)
