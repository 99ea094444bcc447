"""Answers: whole in memory, or piece by piece."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from shared.errors import PlatformError

Header = tuple[bytes, bytes]

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"

COMMENT = b": \n\n"
"""What every reader of an event stream passes over."""

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"
"""The Content-Security-Policy of what is no page."""


def policy_headers(*, https: bool) -> tuple[Header, ...]:
    """What every answer tells browsers; `https`: people know this edge by such an address only."""
    hsts = ((b"strict-transport-security", b"max-age=31536000; includeSubDomains"),) if https else ()
    return (
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", API_POLICY.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
        *hsts,
    )


@dataclass(frozen=True, slots=True)
class Response:
    """Status, body and headers. `reason` is the slug of a failure, for the audit log."""

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[Header, ...] = ()
    reason: str = ""

    def with_headers(self, *headers: Header) -> "Response":
        """The same answer with more headers."""
        return replace(self, headers=(*self.headers, *headers))

    def all_headers(self) -> list[Header]:
        """This answer's own headers and those that describe its body."""
        headers = list(self.headers)
        if self.status != 204:  # which has no length (RFC 9110, 8.6)
            headers.append((b"content-length", b"%d" % len(self.body)))
        if self.body:
            headers.append((b"content-type", self.content_type))
        return headers


class Source(Protocol):
    """Where the pieces of a streamed answer come from: each is one or more whole events."""

    async def piece(self) -> bytes | None:
        """The next piece, or None at the end. Raises the failure that comes instead of it."""
        ...

    @property
    def answer(self) -> bytes:
        """The ordinary answer, JSON, where there was no piece."""
        ...


LastEvent = Callable[[PlatformError, str], bytes]
"""Writes a failure, with the id of its request, as the last event of a stream."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer in pieces, most often an event stream, whose head is written with the first piece.

    `failed` writes what fails after that; without it the connection breaks, so that nobody takes a part for the whole.
    `comment` may stand between any two pieces, to say that a silent stream is alive; empty, nothing may.
    """

    open: Callable[[], AbstractAsyncContextManager[Source]]
    failed: LastEvent | None
    headers: tuple[Header, ...] = ((b"x-accel-buffering", b"no"),)  # nginx would keep events until it has 8 KiB
    content_type: bytes = EVENT_STREAM
    comment: bytes = COMMENT

    @property
    def status(self) -> int:
        """That of every stream; what fails before its first piece is an ordinary answer."""
        return 200

    def all_headers(self) -> list[Header]:
        """The headers but those that say where the stream ends."""
        return [*self.headers, (b"content-type", self.content_type)]
