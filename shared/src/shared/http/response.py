"""Responses: what has arrived of an answer, and who waits for more of it."""

import asyncio
from types import TracebackType
from typing import Protocol, Self

from shared.http.errors import AnswerTooLarge, ConnectionBroken, HttpFailure


class Source(Protocol):
    """What a response arrives from."""

    def resume(self) -> None:
        """Goes on reading, if it had stopped because nobody took what had arrived."""
        ...

    def abandon(self) -> None:
        """Closes the connection at once: nobody wants the rest."""
        ...


class Response:
    """An answer whose head is here and whose body may still arrive.

    It must be closed, which leaving a `with` does: a connection whose answer has not arrived to its end is cut off, and
    the server sees that at once. `headers` have names in lower case; equal ones are joined by commas (RFC 9110 5.3).
    """

    __slots__ = ("_failure", "_pieces", "_source", "_waiting", "headers", "held", "status")

    def __init__(self, source: Source) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.held = 0  # bytes that have arrived and were not read
        self._pieces: list[bytes] = []
        self._source: Source | None = source  # while more may arrive
        self._failure: HttpFailure | None = None
        self._waiting: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cuts off the connection, unless the answer has arrived to its end."""
        self.cut_off(ConnectionBroken("the response was closed"))

    def cut_off(self, failure: HttpFailure) -> None:
        """The same; who waits for more of it hears of `failure`."""
        if self._source is not None:
            source = self._source
            self.fail(failure)
            source.abandon()

    async def read(self, limit: int) -> bytes:
        """The rest of the body; raises AnswerTooLarge beyond `limit` bytes, and otherwise what `read_piece` raises."""
        pieces = []
        size = 0
        while piece := await self.read_piece():
            size += len(piece)
            if size > limit:
                raise AnswerTooLarge(f"more than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def read_piece(self) -> bytes:
        """What has arrived of the body since the last call, at least a byte; nothing at its end.

        Raises ConnectionBroken, NoAnswerInTime or AnswerMalformed when the end never came. While nobody reads, the
        server is soon kept from sending.
        """
        while not self._pieces:
            self._require_no_failure()
            if self._source is None:
                return b""
            await self._news()
        piece = b"".join(self._pieces)
        self._pieces.clear()
        self.held = 0
        if self._source is not None:
            self._source.resume()
        return piece

    async def head(self) -> None:
        """Returns when status and headers are here; raises as `read_piece` does."""
        while not self.status:
            self._require_no_failure()
            await self._news()

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The head has arrived."""
        self.status = status
        self.headers = headers
        self._wake()

    def add(self, piece: bytes) -> None:
        """A piece of the body has arrived."""
        self._pieces.append(piece)
        self.held += len(piece)
        self._wake()

    def end(self) -> None:
        """The answer is whole."""
        self._source = None
        self._wake()

    def fail(self, failure: HttpFailure) -> None:
        """Nothing more will arrive."""
        self._source = None
        self._failure = failure
        self._wake()

    def _require_no_failure(self) -> None:
        failure = self._failure
        if failure is not None:
            # Another one, as it comes to hold the frames of whoever is told, and those hold this response: with the
            # request in them they would wait for the collector, which seldom comes (2 KB for each request of a soak).
            raise type(failure)(*failure.args)

    async def _news(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def _wake(self) -> None:
        if self._waiting is not None:
            if not self._waiting.done():  # it is when its task was cancelled in this turn of the loop
                self._waiting.set_result(None)
            self._waiting = None
