"""Dispatch: a message goes to an agent, and what came of it is recorded before anybody hears of it."""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.application.attempts import Attempt, failure_of
from orchestrator.application.limiting import Limiter, Spending, models_of
from orchestrator.application.pool import NoAgentAvailable, Pool, Work
from orchestrator.application.upstreams import Upstream, UpstreamFailure, UpstreamRefusal
from orchestrator.domain.agent import Agent, AgentType
from orchestrator.domain.chat import Chat, Completion
from shared.audit import AuditTrail, Change, Resource
from shared.bus import CallContext
from shared.bus.notes import note_agent
from shared.contracts.audit import Action, Details, Outcome
from shared.contracts.orchestrator import Dispatch
from shared.errors import DeadlinePassed, PlatformError
from shared.principal import PrincipalKind, Role

AUDIT_RESERVE_S = 0.3
"""What is kept of the deadline for the outcome's receipt."""
MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer of the last agent that was tried, and how long all took."""

    completion: Completion
    attempts: list[Attempt]
    latency_ms: float

    @property
    def agent(self) -> Agent:
        """Who answered."""
        return self.attempts[-1].agent


@dataclass(frozen=True, slots=True)
class _Task:
    """What is asked, by whom, and who was tried so far."""

    wish: Dispatch
    chat: Chat
    context: CallContext
    attempts: list[Attempt]

    @property
    def left_s(self) -> float:
        """The time that an agent may still use."""
        return self.context.remaining() - AUDIT_RESERVE_S


class Dispatching:
    """The use case of dispatch."""

    def __init__(
        self, pool: Pool, upstreams: Mapping[AgentType, Upstream], trail: AuditTrail, limiter: Limiter
    ) -> None:
        self._pool = pool
        self._upstreams = upstreams
        self._trail = trail
        self._limiter = limiter

    async def dispatch(self, wish: Dispatch, body: bytes, context: CallContext) -> Answered:
        """Has an agent answer, and records that; `body` is the request as it came.

        Raises before anything is done AuditUnavailable, RateLimited, RecordsUnavailable, AgentNotFound,
        NoAgentAvailable, ModelNotAllowed or TokenBudgetExhausted, and later AgentFailed or DeadlinePassed.
        """
        await self._trail.be_reachable()
        await self._limiter.charge(context.principal)
        task = _Task(wish, _chat(wish), context, [])
        began = time.perf_counter()
        try:
            completion = await self._completed(task)
        except BaseException as error:
            if task.attempts or isinstance(error, (NoAgentAvailable, asyncio.CancelledError)):
                reason, outcome = _outcome_of(error)
                await self._record(task, {"reason": reason, **_sizes(body)}, began, outcome)
            raise
        answered = Answered(completion, task.attempts, round((time.perf_counter() - began) * 1000, 1))
        text = completion.text.encode()
        details: Details = {
            "promptTokens": completion.prompt_tokens,
            "completionTokens": completion.completion_tokens,
            "answerBytes": len(text),
            "answerSha256": hashlib.sha256(text).hexdigest(),
            **_sizes(body),
        }
        await self._record(task, details, began, Outcome.SUCCESS)
        note_agent(answered.agent.id)
        return answered

    async def _completed(self, task: _Task) -> Completion:
        """The answer of the first agent that has one, and of at most MAX_ATTEMPTS that are tried.

        No attempt is cut off before the deadline: who is slow is not ill, and would have been paid for nothing. So a
        time-out is the end. A connection that is not there within seconds is a failure like any other.
        """
        while True:
            work, spending = await self._next(task)
            attempt = Attempt(work.agent)
            task.attempts.append(attempt)
            try:
                return await self._attempted(task, attempt, work, spending)
            except UpstreamFailure as failure:
                if isinstance(failure, UpstreamRefusal) or task.wish.agent_id is not None or task.left_s <= 0:
                    raise failure_of(task.attempts) from failure
                if len(task.attempts) == MAX_ATTEMPTS:
                    raise failure_of(task.attempts) from failure

    async def _next(self, task: _Task) -> tuple[Work, Spending]:
        """Work for the next agent, with the tokens that it may use."""
        wish, context = task.wish, task.context
        tried = [attempt.agent for attempt in task.attempts]
        try:
            work = await self._pool.give(
                wish.agent_id,
                wish.model,
                wish.tags,
                models_of(context.principal),
                tried=tried,
                within_s=max(task.left_s, 0),
            )
            try:
                return work, await self._limiter.reserve(work.agent, task.chat.messages, context)
            except BaseException:
                work.end()
                raise
        except PlatformError as error:
            if not tried:
                raise
            and_then = "" if isinstance(error, NoAgentAvailable) else f"No other agent was asked: {error.detail}"
            raise failure_of(task.attempts, and_then) from error

    async def _attempted(self, task: _Task, attempt: Attempt, work: Work, spending: Spending) -> Completion:
        agent, within_s = work.agent, task.left_s
        try:
            if within_s <= 0:
                raise DeadlinePassed("The time was up before an agent was asked.")
            spending.begin()
            completion = await self._upstreams[agent.type].complete(agent, task.chat, within_s=within_s)
            spending.answered(completion)
            work.succeeded()
            attempt.succeeded()
        except UpstreamFailure as failure:
            spending.failed(failure)
            attempt.failed(failure)
            if isinstance(failure, UpstreamRefusal):
                work.refused()
            else:
                work.failed(failure.words)
            raise
        except BaseException:
            attempt.cut_off()
            raise
        finally:
            spending.end()
            work.end()
        return completion

    async def _record(self, task: _Task, details: Details, began: float, outcome: Outcome) -> None:
        attempts = task.attempts
        resource = attempts[-1].agent.id if attempts else task.wish.agent_id or ""
        if attempts:
            agent = attempts[-1].agent
            details |= {
                "agentName": agent.name,
                "model": agent.model,
                "latencyMs": int((time.perf_counter() - began) * 1000),
                "attempts": len(attempts),
                "agentsTried": [attempt.agent.id for attempt in attempts],
            }
        change = Change(Action.AGENT_REQUEST, Resource("agent", resource), details, task.context.caller.principal)
        await self._trail.conclude(change, task.context, outcome)


def require_may_dispatch(context: CallContext) -> None:
    """Raises Forbidden unless the caller is an operator or came with an API key, of whatever role."""
    if context.principal.kind is not PrincipalKind.KEY:
        context.principal.must_be(Role.OPERATOR)


def _chat(wish: Dispatch) -> Chat:
    messages = [{"role": turn.role, "content": turn.content} for turn in wish.context]
    messages.append({"role": "user", "content": wish.message})
    return Chat(messages=messages)


def _outcome_of(error: BaseException) -> tuple[str, Outcome]:
    """Why a dispatch failed, in a word. Of one that is cut off nobody knows what the agent made of it."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled", Outcome.UNKNOWN
    return (error.reason if isinstance(error, PlatformError) else "internal"), Outcome.FAILURE


def _sizes(body: bytes) -> Details:
    return {"requestBytes": len(body), "requestSha256": hashlib.sha256(body).hexdigest()}
