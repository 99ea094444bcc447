"""Events for people who watch: told to whoever hears them at that moment. Nothing depends on their arrival."""

from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from shared.bus import Message, Moment
from shared.contracts.orchestrator import AgentStatus

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Event(Generic[M]):
    """What may happen: its name (`<service>.<noun>_<past participle>`) and what is told of it."""

    name: str
    message: type[M]

    subject: str = field(init=False)
    """The subject on which its service publishes it: `await bus.publish(event.subject, write(message))`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", f"peanut.event.{self.name}")


class AgentHealthChanged(Message):
    """An agent fares otherwise than before, as the replica that tells it sees it."""

    timestamp: Moment
    agent_id: str
    agent_name: str
    status: AgentStatus
    previous_status: AgentStatus | None
    details: str


AgentChange = Literal["created", "updated", "deleted", "maintenance_begun", "maintenance_ended"]


class AgentChanged(Message):
    """The pool of agents has changed."""

    timestamp: Moment
    agent_id: str
    agent_name: str
    change: AgentChange


class IntegrityChanged(Message):
    """The audit log is no longer what was written, from that entry on; or it is again."""

    timestamp: Moment
    valid: bool
    first_bad_index: int | None


class StreamDropped(Message):
    """How many events a listener has missed since the last one it got: it does not read fast enough."""

    count: int


class StreamEnded(Message):
    """Why there will be no more events: a slug, and the same in words."""

    reason: str
    detail: str


AGENT_HEALTH_CHANGED = Event("orchestrator.agent_health_changed", AgentHealthChanged)
AGENT_CHANGED = Event("orchestrator.agent_changed", AgentChanged)
INTEGRITY_CHANGED = Event("audit.integrity_changed", IntegrityChanged)
