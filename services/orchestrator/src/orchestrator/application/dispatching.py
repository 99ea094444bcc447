"""Dispatch: a message goes to an agent, and what came of it is recorded before anybody hears of it."""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.application.monitor import Monitor
from orchestrator.application.pool import NoHealthyAgents, Pool
from orchestrator.application.upstreams import (
    Completion,
    Upstream,
    UpstreamFailure,
    UpstreamRefusal,
    UpstreamTimeout,
)
from orchestrator.domain.agent import Agent, AgentType
from shared.audit import AuditTrail, Change, Resource
from shared.bus import CallContext
from shared.contracts.audit import Action, Details, Outcome
from shared.contracts.orchestrator import Dispatch
from shared.errors import DeadlinePassed, ErrorCode, PlatformError
from shared.principal import PrincipalKind, Role

AUDIT_RESERVE_S = 0.3
"""What is kept of the deadline for the outcome's receipt."""


class AgentFailed(PlatformError):
    """The agent that was chosen did not do its work."""

    code = ErrorCode.BAD_GATEWAY
    reason = "agent-failed"


@dataclass(frozen=True, slots=True)
class Answered:
    """An agent's answer, and how long it took."""

    agent: Agent
    completion: Completion
    latency_ms: float


class Dispatching:
    """The use case of dispatch."""

    def __init__(
        self, pool: Pool, monitor: Monitor, upstreams: Mapping[AgentType, Upstream], trail: AuditTrail
    ) -> None:
        self._pool = pool
        self._monitor = monitor
        self._upstreams = upstreams
        self._trail = trail

    async def dispatch(self, wish: Dispatch, body: bytes, context: CallContext) -> Answered:
        """Has an agent answer, and records that; `body` is the request as it came.

        Raises AuditUnavailable before anything is done, AgentNotFound, NoHealthyAgents, AgentFailed or DeadlinePassed.
        """
        await self._trail.be_reachable()
        try:
            agent = await self._pool.choose(wish.agent_id, wish.model, wish.tags)
        except NoHealthyAgents as error:
            await self._record(wish.agent_id or "", {"reason": error.reason, **_sizes(body)}, Outcome.FAILURE, context)
            raise
        details: Details = {"agentName": agent.name, "model": agent.model, **_sizes(body), "attempts": 1}
        began = time.perf_counter()
        try:
            completion = await self._complete(agent, wish, context)
        except BaseException as error:
            details["latencyMs"] = _milliseconds(began)
            details["reason"], outcome = _judged(error)
            await self._record(agent.id, details, outcome, context)
            raise
        latency_ms = round((time.perf_counter() - began) * 1000, 1)
        text = completion.text.encode()
        details["latencyMs"] = int(latency_ms)
        details["promptTokens"] = completion.prompt_tokens
        details["completionTokens"] = completion.completion_tokens
        details["answerBytes"] = len(text)
        details["answerSha256"] = hashlib.sha256(text).hexdigest()
        await self._record(agent.id, details, Outcome.SUCCESS, context)
        return Answered(agent, completion, latency_ms)

    async def _complete(self, agent: Agent, wish: Dispatch, context: CallContext) -> Completion:
        within_s = context.remaining() - AUDIT_RESERVE_S
        if within_s <= 0:
            raise DeadlinePassed("The time was up before an agent was asked.")
        messages = [{"role": turn.role, "content": turn.content} for turn in wish.context]
        messages.append({"role": "user", "content": wish.message})
        try:
            completion = await self._upstreams[agent.type].complete(agent, messages, within_s=within_s)
        except UpstreamRefusal as failure:
            self._monitor.refused(agent)
            raise AgentFailed(f"Agent {agent.name} refused the request: {failure.words}.") from failure
        except UpstreamTimeout as failure:
            self._monitor.failed(agent, failure.words)
            raise DeadlinePassed(f"Agent {agent.name} did not answer in time.") from failure
        except UpstreamFailure as failure:
            self._monitor.failed(agent, failure.words)
            raise AgentFailed(f"Agent {agent.name} failed: {failure.words}.") from failure
        self._monitor.succeeded(agent)
        return completion

    async def _record(self, agent_id: str, details: Details, outcome: Outcome, context: CallContext) -> None:
        change = Change(Action.AGENT_REQUEST, Resource("agent", agent_id), details, context.caller.principal)
        await self._trail.conclude(change, context, outcome)


def require_may_dispatch(context: CallContext) -> None:
    """Raises Forbidden unless the caller is an operator or came with an API key, of whatever role."""
    if context.principal.kind is not PrincipalKind.KEY:
        context.principal.must_be(Role.OPERATOR)


def _judged(error: BaseException) -> tuple[str, Outcome]:
    """Why a dispatch failed, in a word. Of one that is cut off nobody knows what the agent made of it."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled", Outcome.UNKNOWN
    return (error.reason if isinstance(error, PlatformError) else "internal"), Outcome.FAILURE


def _sizes(body: bytes) -> Details:
    return {"requestBytes": len(body), "requestSha256": hashlib.sha256(body).hexdigest()}


def _milliseconds(began: float) -> int:
    return int((time.perf_counter() - began) * 1000)
