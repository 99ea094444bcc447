"""Attempts: which agents a dispatch was given to, one after the other, and how each of that ended."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.application.limiting import Spending
from orchestrator.application.orders import Answer
from orchestrator.application.upstreams import UpstreamFailure, UpstreamRefusal, UpstreamTimeout
from orchestrator.domain.agent import Agent
from orchestrator.domain.metrics import Attempted
from shared.contracts.orchestrator import AttemptOutcome
from shared.errors import DeadlinePassed, ErrorCode, PlatformError


class AgentFailed(PlatformError):
    """No agent that was tried has done its work."""

    code = ErrorCode.BAD_GATEWAY
    reason = "agent-failed"

    def __init__(self, detail: str, *, is_callers_fault: bool = False) -> None:
        super().__init__(detail)
        self.is_callers_fault = is_callers_fault
        """Whether the last one has found fault with the request itself."""


@dataclass(slots=True)
class Attempt:
    """One agent at work on a dispatch."""

    agent: Agent
    spending: Spending
    outcome: AttemptOutcome = "cancelled"
    why: str | None = None
    latency_ms: float = 0.0
    first_piece_ms: float | None = None
    """When the first piece of a stream came."""
    answer: Answer | None = None
    _began: float = field(default_factory=time.perf_counter)

    def first_piece_came(self) -> None:
        """The agent has begun to answer."""
        if self.first_piece_ms is None:
            self.first_piece_ms = self._ms()

    def succeeded(self, answer: Answer) -> None:
        """The agent has answered."""
        self.answer = answer
        self._end("success", None)

    def failed(self, failure: UpstreamFailure) -> None:
        """It has not."""
        if isinstance(failure, UpstreamRefusal):
            self._end("refused", failure.words)
        else:
            self._end("timeout" if isinstance(failure, UpstreamTimeout) else "failed", failure.words)

    def cut_off(self) -> None:
        """Nobody knows what the agent has made of it."""
        self._end("cancelled", None)

    def _end(self, outcome: AttemptOutcome, why: str | None) -> None:
        self.outcome, self.why = outcome, why
        self.latency_ms = self._ms()

    def _ms(self) -> float:
        return round((time.perf_counter() - self._began) * 1000, 1)

    @property
    def measured(self) -> Attempted:
        """What the agent's metrics have of it."""
        answer = self.answer
        tokens = (0, 0) if answer is None else (answer.prompt_tokens, answer.completion_tokens)
        return Attempted(self.outcome, self.latency_ms, self.first_piece_ms, *tokens)

    @property
    def words(self) -> str:
        """What the caller is told of one that was in vain."""
        name = f"Agent {self.agent.name}"
        if self.outcome == "timeout":
            return f"{name} did not answer in time: {self.why}."
        if self.outcome == "refused":
            return f"{name} refused the request: {self.why}."
        return f"{name} failed: {self.why}."


def failure_of(
    attempts: Sequence[Attempt], last: UpstreamFailure | None = None, *, and_then: str = ""
) -> PlatformError:
    """What the caller hears when all attempts were in vain: each in words, and why there was no other one."""
    words = " ".join(filter(None, [*(attempt.words for attempt in attempts), and_then]))
    if attempts[-1].outcome == "timeout":
        return DeadlinePassed(words)
    return AgentFailed(words, is_callers_fault=isinstance(last, UpstreamRefusal) and last.is_callers)
