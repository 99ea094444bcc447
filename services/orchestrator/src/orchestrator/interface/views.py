"""Replies as bytes: JSON exactly as the contract's models would write it, without building them.

test_views.py holds both against each other.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import orjson

from orchestrator.application.agents import Page, Seen
from orchestrator.application.dispatching import Answered
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Completion
from orchestrator.domain.health import Health
from shared.clock import rfc3339

MAX_REMEMBERED = 4096

T = TypeVar("T")


class Views:
    """Writes agents and their health. What has not changed since it was written last is not written again."""

    def __init__(self) -> None:
        self._fixed_parts = _Remembered(_fixed_part)
        self._healths = _Remembered(_health)

    def page(self, page: Page) -> bytes:
        """`Agents` of the contract."""
        return b'{"items":[%b],"nextCursor":%b}' % (
            b",".join([self.agent(seen) for seen in page.items]),
            orjson.dumps(page.next_cursor),
        )

    def agent(self, seen: Seen) -> bytes:
        """`Agent` of the contract."""
        return self._fixed_parts.of(seen.agent.id, seen.agent) + self.health(seen.agent.id, seen.health) + b"}"

    def health(self, agent_id: str, health: Health) -> bytes:
        """`AgentHealth` of the contract."""
        return self._healths.of(agent_id, health)


def dispatched(answered: Answered, *, request_id: str, session_id: str | None, at: str) -> bytes:
    """`Dispatched` of the contract."""
    agent, completion, latency_ms = answered.agent, answered.answer, answered.latency_ms
    assert isinstance(completion, Completion)
    attempts = [
        {
            "agentId": attempt.agent.id,
            "agentName": attempt.agent.name,
            "outcome": attempt.outcome,
            "why": attempt.why,
            "latencyMs": attempt.latency_ms,
        }
        for attempt in answered.attempts
    ]
    return orjson.dumps(
        {
            "requestId": request_id,
            "agentId": agent.id,
            "sessionId": session_id,
            "message": completion.text,
            "model": agent.model,
            "tokensUsed": completion.prompt_tokens + completion.completion_tokens,
            "usage": {"promptTokens": completion.prompt_tokens, "completionTokens": completion.completion_tokens},
            "latencyMs": latency_ms,
            "attempts": attempts,
            "timestamp": at,
        }
    )


class _Remembered(Generic[T]):
    """The bytes of frozen values, by the value's owner; another value of the same owner replaces them."""

    def __init__(self, write: Callable[[str, T], bytes]) -> None:
        self._write = write
        self._written: dict[str, tuple[T, bytes]] = {}

    def of(self, id: str, value: T) -> bytes:
        written = self._written.get(id)
        if written is not None and written[0] is value:
            return written[1]
        if len(self._written) >= MAX_REMEMBERED:
            self._written.clear()
        body = self._write(id, value)
        self._written[id] = (value, body)
        return body


def _fixed_part(_id: str, agent: Agent) -> bytes:
    """The agent's JSON up to its health."""
    fields = {
        "id": agent.id,
        "name": agent.name,
        "type": agent.type,
        "endpoint": agent.endpoint,
        "model": agent.model,
        "hasApiKey": agent.sealed_key is not None,
        "maxTokens": agent.max_tokens,
        "temperature": agent.temperature,
        "priority": agent.priority,
        "weight": agent.weight,
        "maxConcurrency": agent.max_concurrency,
        "tags": agent.tags,
        "metadata": agent.metadata,
        "createdAt": rfc3339(agent.created_at),
        "updatedAt": rfc3339(agent.updated_at),
        "version": agent.version,
    }
    return orjson.dumps(fields)[:-1] + b',"health":'


def _health(agent_id: str, health: Health) -> bytes:
    return orjson.dumps(
        {
            "agentId": agent_id,
            "status": health.status,
            "latencyMs": health.latency_ms,
            "successRate": health.success_rate,
            "requestCount": health.request_count,
            "errorCount": health.error_count,
            "lastCheckedAt": None if health.checked_at is None else rfc3339(health.checked_at),
            "details": health.details,
        }
    )
