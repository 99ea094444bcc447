"""Talks: a question to somebody who is no service of ours, and all that comes back for it, bounded."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import NamedTuple

from nats.errors import Error as NatsError

from shared.bus.cancelling import inbox_of
from shared.bus.client import BusClient
from shared.bus.headers import NOBODY_LISTENS, STATUS, read_headers, write_headers
from shared.bus.requester import HEADERS_ROOM, NoResponder, OutcomeUnknown
from shared.errors import PlatformError, TooLarge, Unavailable


def talks_with(user: str, who: str) -> str:
    """Where `who` answers in talks with that user. No other call of the user is answered there."""
    return f"{inbox_of(user)}talk.{who}.>"


class TalkedTooMuch(PlatformError):
    """More came back, faster than it was heard, than is kept."""


class Said(NamedTuple):
    """One message of those that come back."""

    body: bytes
    headers: Mapping[str, str]


class Talk:
    """One question, and what comes back for it. `reply` is the subject on which that comes."""

    def __init__(self, reply: str, *, max_unread: int) -> None:
        self.reply = reply
        self._max_unread = max_unread
        self._unread = 0
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._failure: Exception | None = None
        self._news = asyncio.Event()

    async def heard(self) -> list[Said]:
        """All that has come since, at least one message; waits for it as long as it takes.

        Raises, once everything before it was handed out, NoResponder when nobody listens there, TalkedTooMuch,
        OutcomeUnknown when the bus breaks, or what it was ended with.
        """
        await self._news.wait()
        if not self._waiting:
            assert self._failure is not None
            raise self._failure
        said = [Said(body, read_headers(headers) if headers else {}) for body, headers in self._waiting]
        self._waiting.clear()
        self._unread = 0
        if self._failure is None:
            self._news.clear()
        return said

    def end(self, failure: Exception) -> None:
        """Nothing that comes from now on counts. The first of several failures does."""
        if self._failure is None:
            self._failure = failure
            self._news.set()

    def hear(self, _subject: str, _reply: str, body: bytes, headers: bytes) -> None:
        """Takes a message as it comes from the server."""
        if self._failure is not None:
            return
        if not body and headers and read_headers(headers).get(STATUS) == NOBODY_LISTENS:
            self.end(NoResponder("Nobody listens there."))
            return
        self._unread += len(body) + len(headers)
        if self._unread > self._max_unread:
            self.end(TalkedTooMuch("More came back than is kept."))
            return
        self._waiting.append((body, headers))
        self._news.set()


class Talks:
    """Begins talks. Each has a subscription of its own, so that the server drops what comes after its end."""

    def __init__(self, client: BusClient, user: str, process: str) -> None:
        self._client = client
        self._user = user
        self._process = process
        self._tokens = count()
        self._talks: set[Talk] = set()

    @asynccontextmanager
    async def begin(
        self, subject: str, body: bytes, headers: Mapping[str, str], *, who: str, max_unread: int
    ) -> AsyncIterator[Talk]:
        """Asks, and hears what comes back while the block runs; of that at most `max_unread` bytes wait to be heard.

        `who` is asked, and has to be permitted to publish to `talks_with(<user>, who)`. Raises TooLarge or Unavailable
        when that cannot be asked.
        """
        block = write_headers(headers)
        if len(body) + len(block) + HEADERS_ROOM > self._client.max_payload:
            raise TooLarge("This is larger than a message on the bus may be.")
        reply = f"{talks_with(self._user, who)[:-1]}{self._process}.{next(self._tokens):x}"
        talk = Talk(reply, max_unread=max_unread)
        try:
            subscription = await self._client.hear(talk.reply, talk.hear)
        except NatsError as error:
            raise Unavailable("The bus is not reachable.") from error
        self._talks.add(talk)
        try:
            try:
                self._client.send(subject, body, reply=talk.reply, headers=block)
            except NatsError as error:
                raise Unavailable("The bus is not reachable.") from error
            yield talk
        finally:
            self._talks.discard(talk)
            with suppress(NatsError):  # a connection that has ended keeps no subscription
                await self._client.forget(subscription)

    def disconnected(self) -> None:
        """The connection broke: what was to come is lost with it."""
        for talk in self._talks:
            talk.end(OutcomeUnknown("The bus broke in the middle of it."))
