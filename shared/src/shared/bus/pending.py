"""Calls that wait for their answers, and for how long."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.bus.contract import Kind

LOST_AFTER_S = 3.0
"""How long a replica that has said that it works on a call may say nothing more."""


@dataclass(slots=True, eq=False)
class Pending:
    """A call that waits for its answer: `reply` becomes that, body and headers, or the failure that nobody sent."""

    reply: asyncio.Future[tuple[bytes, bytes]]
    token: str
    service: str
    kind: Kind
    deadline: float
    heard: float
    patience: float
    meanwhile: Callable[["Pending"], None] | None = None
    """What to do at `meanwhile_at` without an answer. It must not hold this call, or only the collector frees both."""
    meanwhile_at: float = float("inf")
    is_silent: bool = True
    timer: asyncio.TimerHandle | None = field(default=None)

    @property
    def due(self) -> float:
        """When something has to happen unless the answer comes."""
        return min(self.deadline, self.heard + self.patience, self.meanwhile_at)

    @property
    def is_answered(self) -> bool:
        """Whether the answer is here. Looks at a failure too, which asyncio would complain of after a cancellation."""
        return self.reply.done() and not self.reply.cancelled() and self.reply.exception() is None

    def fail(self, error: Exception) -> None:
        """There is no answer, unless it is here already."""
        if not self.reply.done():
            self.reply.set_exception(error)

    def is_worked_on(self, now: float) -> None:
        """The replica has said so, in one way or another."""
        self.heard = now
        self.patience = LOST_AFTER_S
        self.is_silent = False
