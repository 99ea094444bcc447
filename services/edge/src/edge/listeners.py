"""Who listens to what happens, for as long as they may: a bounded number in all, and of each user."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from edge.http.credentials import Shown
from edge.identities import Identities
from shared.background import beside
from shared.errors import ErrorCode, Overloaded, PlatformError, Unavailable
from shared.principal import Role

MAX_OF_ONE_USER = 8
MAX_LISTENERS = 256
CHECK_EVERY_S = 0.5
"""How often it is asked whether those who listen still may; they stop hearing within twice this."""
RETRY_AFTER_S = 30

_log = logging.getLogger(__name__)


class TooManyStreams(PlatformError):
    """One user listens too often at the same time."""

    code = ErrorCode.RATE_LIMITED
    reason = "too-many-streams"


class Stopping(Unavailable):
    """This replica is being stopped; another one goes on."""

    reason = "stopping"


class Ending(Protocol):
    """A stream that can be ended. `shown` is by what its listener is known, `role` the one it takes."""

    shown: Shown
    role: Role

    def end(self, why: PlatformError) -> None:
        """The last it hears is why."""


class Listeners:
    """Looks after all streams of events of this edge. Nobody hears on whose session, key or role has ended."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._listeners: set[Ending] = set()
        self._of_user = Counter[str]()
        self._is_stopping = False

    @asynccontextmanager
    async def checking(self) -> AsyncIterator[None]:
        """Looks while the block runs whether everybody may still listen; at its end all streams end."""
        try:
            async with beside(self._keep_checking):
                yield
        finally:
            self._is_stopping = True
            for listener in self._listeners:
                listener.end(_stopping())

    @contextmanager
    def admitted(self, listener: Ending, user_id: str) -> Iterator[None]:
        """One more while the block runs; raises TooManyStreams, Overloaded or Stopping."""
        self._require_room(user_id)
        self._listeners.add(listener)
        self._of_user[user_id] += 1
        try:
            yield
        finally:
            self._listeners.discard(listener)
            self._of_user[user_id] -= 1
            if not self._of_user[user_id]:
                del self._of_user[user_id]

    def _require_room(self, user_id: str) -> None:
        if self._is_stopping:
            raise _stopping()
        if self._of_user[user_id] >= MAX_OF_ONE_USER:
            words = f"You have {MAX_OF_ONE_USER} streams of events open already; close one of them."
            raise TooManyStreams(words, retry_after=RETRY_AFTER_S)
        if len(self._listeners) >= MAX_LISTENERS:
            raise Overloaded("Too many streams of events are open here.", retry_after=RETRY_AFTER_S)

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await asyncio.gather(*(self._check(listener) for listener in tuple(self._listeners)))

    async def _check(self, listener: Ending) -> None:
        try:
            known = await self._identities.still(listener.shown)
            known.identity.principal.must_be(listener.role)
        except PlatformError as error:
            listener.end(error)
        except Exception:
            _log.exception("listener_not_checked")
            listener.end(Unavailable("It cannot be said whether you may listen."))


def _stopping() -> Stopping:
    return Stopping("This edge stops; come back for another one.")
