"""Contracts: a subject, what is asked there and what is answered, checked by types on both ends."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from shared.bus.context import CallContext
from shared.bus.messages import Message, read, write
from shared.bus.streams import Outlet
from shared.errors import Malformed

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)

Handler = Callable[[Q, CallContext], Awaitable[A]]
RawHandler = Callable[[bytes, CallContext], Awaitable[bytes]]
StreamHandler = Callable[[bytes, CallContext, Outlet], Awaitable[bytes]]


class Kind(Enum):
    """What a call does: whether it may be tried again by itself, and how many seconds it has by default."""

    # Members are single, so identity is hash enough; Enum's own is Python code, which every call would run six times.
    __hash__ = object.__hash__

    READ = 5.0
    CHANGE = 15.0
    DISPATCH = 120.0
    STREAM = 600.0

    @property
    def seconds(self) -> float:
        """The default deadline, in seconds from the start of the call."""
        return self.value

    @property
    def ends_with_its_caller(self) -> bool:
        """Whether it is stopped when nobody waits for its answer. A change that was begun goes on to its end."""
        return self in (Kind.DISPATCH, Kind.STREAM)


@dataclass(frozen=True, slots=True)
class Contract(Generic[Q, A]):
    """One call: its name (`<service>.<noun>.<verb>`), its request and its reply."""

    name: str
    request: type[Q]
    reply: type[A]
    kind: Kind

    subject: str = field(init=False)
    """The subject on the bus."""
    service: str = field(init=False)
    """The service that answers."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", f"peanut.{self.name}")
        object.__setattr__(self, "service", self.name.partition(".")[0])

    def answered_by(self, handler: Handler[Q, A]) -> "Endpoint":
        """An endpoint that parses the request, calls `handler` and writes its reply."""

        async def answer(body: bytes, context: CallContext) -> bytes:
            return write(await handler(read(self.request, body), context))

        return Endpoint(self.subject, self.kind, answer)

    def answered_in_bytes_by(self, handler: RawHandler) -> "Endpoint":
        """An endpoint for a hot path, whose handler reads and writes the JSON itself."""
        return Endpoint(self.subject, self.kind, handler)

    def streamed_by(self, handler: StreamHandler) -> "Endpoint":
        """An endpoint whose handler may hand over pieces before it returns its answer; see Outlet.

        When nobody reads any more it is cancelled.
        """
        if self.kind is not Kind.STREAM:
            raise ValueError("what is streamed ends with its reader, and has bounds of its own")
        return Endpoint(self.subject, self.kind, _unstreamed, handler)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A handler on its subject."""

    subject: str
    kind: Kind
    answer: RawHandler
    stream: StreamHandler | None = None
    """Instead of `answer`, for a call that names a stream."""


async def _unstreamed(_body: bytes, _context: CallContext) -> bytes:
    raise Malformed("The answer to this is a stream, and the call names none.")
