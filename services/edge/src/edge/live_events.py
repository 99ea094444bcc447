"""What happens, told to everybody who watches: one subscription of the edge, and a bounded queue for each listener."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from edge.http.credentials import Shown, credential_of
from edge.http.request import Request
from edge.http.response import Streamed
from edge.identities import Identities, Known
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
from shared.errors import ErrorCode, Overloaded, PlatformError, Unavailable
from shared.ids import new_id

M = TypeVar("M", bound=Message)

MAX_WAITING = 256
"""Events that wait for one listener; more than these it misses."""
MAX_OF_ONE_USER = 8
MAX_LISTENERS = 256
MAX_REMEMBERED = 4096
CHECK_EVERY_S = 0.5
"""How often it is asked whether those who listen still may; they stop hearing within twice this."""
RETRY_AFTER_S = 30
OPENING = b"retry: 2000\n\n"
"""What every stream begins with, as no head leaves without a piece: after how many milliseconds to come back."""

_log = logging.getLogger(__name__)


class TooManyStreams(PlatformError):
    """One user listens too often at the same time."""

    code = ErrorCode.RATE_LIMITED
    reason = "too-many-streams"


class Stopping(Unavailable):
    """This replica is being stopped; another one goes on."""

    reason = "stopping"


class Listener:
    """One stream: a `Source` of what happens from now on."""

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
            happened += _event("dropped", StreamDropped(count=self._missed))
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
            self._end = _end_event(why, "")
            self._news.set()

    def _tell(self, event: bytes) -> None:
        self._waiting.append(event)
        self._news.set()


class LiveEvents:
    """Hears events on the bus and tells all listeners. Nobody hears on whose session or key has ended."""

    def __init__(self, bus: Bus, identities: Identities) -> None:
        self._bus = bus
        self._identities = identities
        self._listeners: set[Listener] = set()
        self._of_user = Counter[str]()
        self._statuses: dict[str, AgentStatus] = {}
        """What was told last of each agent."""
        self._first_bad: int | None = None
        """What was told last of the audit log."""
        self._is_stopping = False

    async def start(self) -> None:
        """Hears from now on what happens."""
        await self._hear(AGENT_HEALTH_CHANGED, self._name_of_health)
        await self._hear(AGENT_CHANGED, _name_of_change)
        await self._hear(INTEGRITY_CHANGED, self._name_of_integrity)

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Looks while the block runs whether everybody may still listen; at its end all streams end."""
        checking = asyncio.create_task(self._keep_checking())
        try:
            yield
        finally:
            checking.cancel()
            self._is_stopping = True
            for listener in self._listeners:
                listener.end(_stopping())

    def heard_by(self, request: Request, known: Known) -> Streamed:
        """The stream of what happens from now on, for this caller."""
        user_id = known.identity.principal.user_id
        shown = credential_of(request)
        assert shown is not None  # by it the caller is known

        @asynccontextmanager
        async def listening() -> AsyncIterator[Listener]:
            listener = self._admit(user_id, shown)
            try:
                yield listener
            finally:
                self._listeners.discard(listener)
                self._of_user[user_id] -= 1
                if not self._of_user[user_id]:
                    del self._of_user[user_id]

        return Streamed(listening, _end_event)

    def _admit(self, user_id: str, shown: Shown) -> Listener:
        if self._is_stopping:
            raise _stopping()
        if self._of_user[user_id] >= MAX_OF_ONE_USER:
            words = f"You have {MAX_OF_ONE_USER} streams of events open already; close one of them."
            raise TooManyStreams(words, retry_after=RETRY_AFTER_S)
        if len(self._listeners) >= MAX_LISTENERS:
            raise Overloaded("Too many streams of events are open here.", retry_after=RETRY_AFTER_S)
        listener = Listener(shown)
        self._listeners.add(listener)
        self._of_user[user_id] += 1
        return listener

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
            happened = b"id: %b\n%b" % (new_id().encode(), _event(name, message))
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

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await asyncio.gather(*(self._check(listener) for listener in tuple(self._listeners)))

    async def _check(self, listener: Listener) -> None:
        try:
            await self._identities.still(listener.shown)
        except PlatformError as error:
            listener.end(error)
        except Exception:
            _log.exception("listener_not_checked")
            listener.end(Unavailable("It cannot be said whether you may listen."))


def _stopping() -> Stopping:
    return Stopping("This edge stops; come back for another one.")


def _name_of_change(message: AgentChanged) -> str:
    return f"agent.{message.change}"


def _event(name: str, message: Message) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), write(message))


def _end_event(why: PlatformError, _request_id: str) -> bytes:
    return _event("end", StreamEnded(reason=why.reason, detail=why.detail))
