"""What happens, told to everybody who watches: one subscription of the edge, and a bounded queue for each listener."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from edge.http.credentials import Shown, credential_of
from edge.http.request import Request
from edge.http.response import Streamed
from edge.identities import Known
from edge.listeners import Listeners
from shared.bus import Bus, Message, read, write
from shared.contracts.events import (
    AGENT_CHANGED,
    AGENT_HEALTH_CHANGED,
    INTEGRITY_CHANGED,
    AgentChanged,
    AgentHealthChanged,
    Event,
    IntegrityChanged,
    StreamDropped,
    StreamEnded,
)
from shared.contracts.orchestrator import AgentStatus
from shared.errors import PlatformError
from shared.ids import new_id
from shared.principal import Role

M = TypeVar("M", bound=Message)

MAX_WAITING = 256
"""Events that wait for one listener; more than these it misses."""
MAX_REMEMBERED = 4096
OPENING = b"retry: 2000\n\n"
"""What every stream begins with, as no head leaves without a piece: after how many milliseconds to come back."""

_log = logging.getLogger(__name__)


class Listener:
    """One stream: a `Source` of what happens from now on."""

    role = Role.VIEWER

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self._waiting: deque[bytes] = deque()
        self._missed = 0
        self._end: bytes | None = None
        self._is_over = False
        self._news = asyncio.Event()
        self._tell(OPENING)

    @property
    def answer(self) -> bytes:
        """There is none: a stream begins at once."""
        raise RuntimeError("events have no ordinary answer")

    async def piece(self) -> bytes | None:
        """All that has happened since; waits until something has."""
        if self._is_over:
            return None
        await self._news.wait()
        self._news.clear()
        happened = b"".join(self._waiting)
        self._waiting.clear()
        if self._missed:
            happened += event_of("dropped", StreamDropped(count=self._missed))
            self._missed = 0
        if self._end is not None:
            self._is_over = True
            happened += self._end
        return happened

    def tell(self, event: bytes) -> None:
        """Something has happened. One that does not read misses what comes after MAX_WAITING events."""
        if self._end is not None:
            return
        if len(self._waiting) < MAX_WAITING:
            self._tell(event)
        else:
            self._missed += 1

    def end(self, why: PlatformError) -> None:
        """The last it hears is why; what it has not read by now it does not hear."""
        if self._end is None:
            self._waiting.clear()
            self._missed = 0
            self._end = end_event(why, "")
            self._news.set()

    def _tell(self, event: bytes) -> None:
        self._waiting.append(event)
        self._news.set()


class LiveEvents:
    """Hears events on the bus and tells all who listen."""

    def __init__(self, bus: Bus, listeners: Listeners) -> None:
        self._bus = bus
        self._admitted = listeners
        self._listeners: set[Listener] = set()
        self._statuses: dict[str, AgentStatus] = {}
        """What was told last of each agent."""
        self._first_bad: int | None = None
        """What was told last of the audit log."""

    async def start(self) -> None:
        """Hears from now on what happens."""
        await self._hear(AGENT_HEALTH_CHANGED, self._name_of_health)
        await self._hear(AGENT_CHANGED, _name_of_change)
        await self._hear(INTEGRITY_CHANGED, self._name_of_integrity)

    def heard_by(self, request: Request, known: Known) -> Streamed:
        """The stream of what happens from now on, for this caller."""
        user_id = known.identity.principal.user_id
        shown = credential_of(request)
        assert shown is not None  # by it the caller is known

        @asynccontextmanager
        async def listening() -> AsyncIterator[Listener]:
            listener = Listener(shown)
            with self._admitted.admitted(listener, user_id):
                self._listeners.add(listener)
                try:
                    yield listener
                finally:
                    self._listeners.discard(listener)

        return Streamed(listening, end_event)

    async def _hear(self, event: Event[M], name_of: Callable[[M], str | None]) -> None:
        async def tell(body: bytes) -> None:
            try:
                message = read(event.message, body)
            except PlatformError as error:
                _log.error("event_not_understood", extra={"subject": event.subject, "errors": error.errors})
                return
            name = name_of(message)
            if name is None:
                return
            happened = b"id: %b\n%b" % (new_id().encode(), event_of(name, message))
            for listener in self._listeners:
                listener.tell(happened)

        await self._bus.subscribe(event.subject, tell)

    def _name_of_health(self, message: AgentHealthChanged) -> str | None:
        """None for what is no news: each replica of the orchestrator tells what it sees, and most see the same."""
        if self._statuses.get(message.agent_id) == message.status:
            return None
        if len(self._statuses) >= MAX_REMEMBERED:
            self._statuses.clear()
        self._statuses[message.agent_id] = message.status
        return "agent.health_changed"

    def _name_of_integrity(self, message: IntegrityChanged) -> str | None:
        """None for what is no news: each replica of the audit service tells what it finds, and most find the same."""
        if message.first_bad_index == self._first_bad:
            return None
        self._first_bad = message.first_bad_index
        return "audit.recovered" if message.valid else "audit.alarm"


def _name_of_change(message: AgentChanged) -> str:
    return f"agent.{message.change}"


def event_of(name: str, message: Message) -> bytes:
    """An event of that name as a stream tells it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), write(message))


def end_event(why: PlatformError, _request_id: str) -> bytes:
    """Why a stream of events ends, as its last one."""
    return event_of("end", StreamEnded(reason=why.reason, detail=why.detail))
