"""Dispatch: an order goes to an agent, and what came of it is recorded before anybody hears of it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.application.attempts import Attempt, failure_of
from orchestrator.application.dispatch_details import Sent, details_of, outcome_of, sizes
from orchestrator.application.limiting import Limiter, Spending, models_of
from orchestrator.application.orders import Answer, Choice, Order, StreamOrder
from orchestrator.application.pool import NoAgentAvailable, Pool, Work
from orchestrator.application.recording import Recorder
from orchestrator.application.upstreams import Take, Upstream, UpstreamFailure, UpstreamRefusal
from orchestrator.domain.agent import Agent, AgentType
from orchestrator.domain.chat import Chat, Piece, likely_tokens_of
from shared.audit import AuditTrail, Change, Resource
from shared.bus import CallContext
from shared.bus.notes import note_agent
from shared.contracts.audit import Action, Details, Outcome
from shared.errors import DeadlinePassed, PlatformError
from shared.principal import PrincipalKind, Role

AUDIT_RESERVE_S = 0.3
"""What is kept of the deadline for the outcome's receipt."""
MAX_ATTEMPTS = 3


class Listener(Protocol):
    """Whom a streamed answer goes to."""

    async def take(self, agent: Agent, piece: Piece) -> bytes:
        """Sends what has arrived on, and returns what was sent; raises when nobody wants it any more."""
        ...


@dataclass(slots=True)
class Answered:
    """The answer of the last agent that was tried, and how long all took."""

    answer: Answer
    attempts: list[Attempt]
    latency_ms: float

    @property
    def agent(self) -> Agent:
        """Who answered."""
        return self.attempts[-1].agent


@dataclass(slots=True)
class _Task:
    """What is asked, by whom, who was tried so far, and what was sent on of a stream."""

    order: Order
    choice: Choice
    request: bytes
    context: CallContext
    effect_begins: Callable[[], None] | None = None
    attempts: list[Attempt] = field(default_factory=list)
    intent: asyncio.Task[None] | None = None
    has_begun: bool = False
    """Whether the caller may have a part of an answer, so that no other agent can give another one."""
    sent: Sent | None = None
    """Of a stream: what of it has left."""
    began: float = field(default_factory=time.perf_counter)

    @property
    def left_s(self) -> float:
        """The time that an agent may still use."""
        return self.context.remaining() - AUDIT_RESERVE_S

    @property
    def latency_ms(self) -> float:
        """How long it has taken so far."""
        return (time.perf_counter() - self.began) * 1000


class Dispatching:
    """The use case of dispatch."""

    def __init__(
        self,
        pool: Pool,
        upstreams: Mapping[AgentType, Upstream],
        trail: AuditTrail,
        limiter: Limiter,
        recorder: Recorder,
    ) -> None:
        self._pool = pool
        self._upstreams = upstreams
        self._trail = trail
        self._limiter = limiter
        self._recorder = recorder

    async def admit(self, context: CallContext) -> None:
        """Lets a request in and counts it; raises AuditUnavailable, RateLimited or RecordsUnavailable."""
        await self._trail.be_reachable()
        await self._limiter.charge(context.principal)

    async def answer(
        self,
        order: Order,
        choice: Choice,
        request: bytes,
        context: CallContext,
        effect_begins: Callable[[], None] | None = None,
    ) -> Answered:
        """Has an agent answer what was let in, and records that; `request` is what was asked as it came.

        `effect_begins` is called before the first agent is asked. Raises before that AgentNotFound, NoAgentAvailable,
        ModelNotAllowed or TokenBudgetExhausted, and later AgentFailed or DeadlinePassed.
        """
        return await self._recorded(_Task(order, choice, request, context, effect_begins))

    async def stream(
        self, chat: Chat, choice: Choice, request: bytes, context: CallContext, listener: Listener
    ) -> Answered:
        """The same, and the answer goes to the listener while it comes; it is recorded before this returns.

        The log has the intent before the listener has anything: without a receipt AuditUnavailable is raised instead.
        """
        sent = Sent()
        order = StreamOrder(chat, lambda agent: self._taking(task, sent, agent, listener))
        task = _Task(order, choice, request, context, sent=sent)
        try:
            return await self._recorded(task)
        finally:
            if task.intent is not None:
                task.intent.cancel()

    async def _recorded(self, task: _Task) -> Answered:
        try:
            answer = await self._answered(task)
            if task.intent is not None:
                await task.intent  # where nothing came to be sent on
        except BaseException as error:
            if task.attempts:
                note_agent(task.attempts[-1].agent.id)
            if task.attempts or isinstance(error, (NoAgentAvailable, asyncio.CancelledError)):
                reason, outcome = outcome_of(error)
                await self._record(task, {"reason": reason}, outcome)
            raise
        answered = Answered(answer, task.attempts, round(task.latency_ms, 1))
        await self._record(task, details_of(answer, task.order), Outcome.SUCCESS)
        note_agent(answered.agent.id)
        return answered

    async def _answered(self, task: _Task) -> Answer:
        """The answer of the first agent that has one, and of at most MAX_ATTEMPTS that are tried.

        No attempt is cut off before the deadline: who is slow is not ill, and would have been paid for nothing. So a
        time-out is the end. A connection that is not there within seconds is a failure like any other.
        """
        while True:
            work, spending = await self._next(task)
            attempt = Attempt(work.agent, spending)
            task.attempts.append(attempt)
            try:
                return await self._attempted(task, attempt, work)
            except UpstreamFailure as failure:
                is_last = len(task.attempts) == MAX_ATTEMPTS or task.choice.agent_id is not None or task.has_begun
                if is_last or isinstance(failure, UpstreamRefusal) or task.left_s <= 0:
                    raise failure_of(task.attempts, failure) from failure

    async def _next(self, task: _Task) -> tuple[Work, Spending]:
        """Work for the next agent, with the tokens that it may use."""
        choice, context = task.choice, task.context
        tried = [attempt.agent for attempt in task.attempts] if task.attempts else ()
        try:
            work = await self._pool.give(
                choice.agent_id,
                choice.model,
                choice.tags,
                models_of(context.principal),
                embeds=task.order.embeds,
                tried=tried,
                within_s=max(task.left_s, 0),
            )
            try:
                return work, await self._limiter.reserve(work.agent, task.order, context)
            except BaseException:
                work.end()
                raise
        except PlatformError as error:
            if not tried:
                raise
            and_then = "" if isinstance(error, NoAgentAvailable) else f"No other agent was asked: {error.detail}"
            raise failure_of(task.attempts, and_then=and_then) from error

    async def _attempted(self, task: _Task, attempt: Attempt, work: Work) -> Answer:
        agent, within_s, spending = work.agent, task.left_s, attempt.spending
        try:
            if within_s <= 0:
                raise DeadlinePassed("The time was up before an agent was asked.")
            self._effect_begins(task, agent)
            spending.begin()
            answer = await task.order.ask(self._upstreams[agent.type], agent, within_s=within_s)
            spending.answered(answer)
            work.succeeded()
            attempt.succeeded(answer)
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
            self._recorder.note(agent.id, attempt.measured)
        return answer

    def _effect_begins(self, task: _Task, agent: Agent) -> None:
        if len(task.attempts) > 1:
            return
        if task.effect_begins is not None:
            task.effect_begins()
        if task.sent is not None:  # beside the agent's work, which takes longer
            change = Change(Action.AGENT_REQUEST, Resource("agent", agent.id), sizes(task.request))
            change.who = task.context.caller.principal
            task.intent = asyncio.create_task(self._trail.intend(change, task.context))

    def _taking(self, task: _Task, sent: Sent, agent: Agent, listener: Listener) -> Take:
        attempt = task.attempts[-1]

        async def take(piece: Piece) -> None:
            if not task.has_begun:
                attempt.first_piece_came()
                assert task.intent is not None
                await task.intent
                note_agent(agent.id)
                task.has_begun = True
            attempt.spending.heard(likely_tokens_of(piece))
            sent.add(await listener.take(agent, piece))

        return take

    async def _record(self, task: _Task, details: Details, outcome: Outcome) -> None:
        attempts = task.attempts
        resource = attempts[-1].agent.id if attempts else task.choice.agent_id or ""
        details |= sizes(task.request)
        if attempts:
            agent = attempts[-1].agent
            details |= {
                "agentName": agent.name,
                "model": agent.model,
                "latencyMs": int(task.latency_ms),
                "attempts": len(attempts),
                "agentsTried": [attempt.agent.id for attempt in attempts],
            }
        if task.sent is not None:
            details |= task.sent.details
        change = Change(Action.AGENT_REQUEST, Resource("agent", resource), details, task.context.caller.principal)
        await self._trail.conclude(change, task.context, outcome)


def require_may_dispatch(context: CallContext) -> None:
    """Raises Forbidden unless the caller is an operator or came with an API key, of whatever role."""
    if context.principal.kind is not PrincipalKind.KEY:
        context.principal.must_be(Role.OPERATOR)
