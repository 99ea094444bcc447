"""A request as it came in: the headers that matter, the address behind it and a bounded body."""

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from edge.http.exchange import ClientLeft, exchange_of
from shared.bus import CallContext, Kind
from shared.bus.context import NOBODY, new_traceparent
from shared.clock import unix_ms
from shared.errors import ErrorCode, FieldError, InvalidFields, Malformed, PlatformError, TooLarge
from shared.ids import new_id
from shared.json import require_sound_json

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MAX_BODY = 1024 * 1024
MAX_BODY_OF_STRANGERS = 16 * 1024
"""Reading 1 MiB of JSON takes up to 60 ms; that is for callers who are known."""
BODY_WITHIN_S = 30.0
MAX_USER_AGENT = 256

MAX_TIMEOUT_S = 600

_ONCE = frozenset(
    {
        b"host",
        b"authorization",
        b"cookie",
        b"origin",
        b"content-type",
        b"content-length",
        b"if-match",
        b"idempotency-key",
        b"peanut-timeout",
    }
)
_TIMEOUT = re.compile(rb"[1-9][0-9]{0,2}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class RepeatedHeader(Malformed):
    """A header that decides something came twice, and two readers could choose differently."""

    reason = "repeated-header"


class BodyTooSlow(Malformed):
    """The body did not arrive in time."""

    reason = "body-too-slow"


class UnsupportedMediaType(PlatformError):
    """A body that does not say it is JSON."""

    code = ErrorCode.UNSUPPORTED_MEDIA_TYPE
    reason = "unsupported-media-type"


class Request:
    """One HTTP request on its way through the pipeline. `caller` is filled in once it is known."""

    __slots__ = (
        "_receive",
        "caller",
        "event_id",
        "headers",
        "ip_address",
        "max_body",
        "method",
        "path",
        "request_id",
        "scope",
    )

    def __init__(self, scope: Scope, receive: Receive, ip_address: str) -> None:
        self.scope = scope
        self.method: str = "GET" if scope["method"] == "HEAD" else scope["method"]  # the server drops the body
        self.path: str = scope["raw_path"].decode("latin-1")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.event_id = new_id()
        self.request_id = self.event_id
        self.ip_address = ip_address
        self.caller = NOBODY
        self.max_body = MAX_BODY_OF_STRANGERS
        self._receive = receive

    def require_sound_headers(self) -> None:
        """Raises RepeatedHeader when one that decides something stands there twice; takes over the request's id."""
        if len(self.headers) != len(self.scope["headers"]):
            names = [name for name, _ in self.scope["headers"] if name in _ONCE]
            for name in names:
                if names.count(name) > 1:
                    raise RepeatedHeader(f"The header {name.decode('latin-1')} came twice.")
        given = self.headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given.decode("latin-1")):
            self.request_id = given.decode("latin-1")

    @property
    def changes_something(self) -> bool:
        """Whether the method is one that may change something."""
        return self.method not in {"GET", "OPTIONS"}

    @property
    def has_body(self) -> bool:
        """Whether the client announces a body."""
        return self.headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in self.headers

    @property
    def user_agent(self) -> str:
        """What the client calls itself, for the audit log; its first 256 characters."""
        return self.headers.get(b"user-agent", b"")[:MAX_USER_AGENT].decode("latin-1")

    def context(self, kind: Kind, *, seconds: float | None = None) -> CallContext:
        """The context of a bus call of that kind on behalf of this request's caller; `seconds` if it takes longer."""
        given = self.headers.get(b"traceparent")
        return CallContext(
            caller=self.caller,
            event_id=self.event_id,
            request_id=self.request_id,
            deadline=unix_ms() + int((seconds or kind.seconds) * 1000),
            traceparent=new_traceparent(given.decode("latin-1") if given is not None else None),
        )

    @property
    def timeout_s(self) -> int | None:
        """The seconds that the client gives in `Peanut-Timeout`, if it does; raises InvalidFields for what is none."""
        given = self.headers.get(b"peanut-timeout")
        if given is None:
            return None
        if not _TIMEOUT.fullmatch(given) or int(given) > MAX_TIMEOUT_S:
            error = FieldError("Peanut-Timeout", f"must be whole seconds between 1 and {MAX_TIMEOUT_S}")
            raise InvalidFields("The time that the answer may take is not understood.", errors=(error,))
        return int(given)

    def require_json(self) -> None:
        """Raises UnsupportedMediaType when there is a body that does not say it is JSON."""
        if self.has_body:
            kind = self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            if kind != b"application/json":
                raise UnsupportedMediaType("Send the body as application/json.")

    async def body(self) -> bytes:
        """The whole body; raises TooLarge above `max_body` bytes and BodyTooSlow after 30 s."""
        if not self.has_body:
            return b""
        announced = self.headers.get(b"content-length", b"0")
        if int(announced) > self.max_body:  # the HTTP parser has already refused what is no number
            raise self._too_large()
        whole = exchange_of(self.scope).whole_body()
        if whole is not None:
            if len(whole) > self.max_body:
                raise self._too_large()
            return whole
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                while more:
                    message = await self._next()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self.max_body:
                        raise self._too_large()
        except TimeoutError:
            raise BodyTooSlow("The body did not arrive within 30 s.") from None
        return bytes(body)

    async def sound_json(self) -> bytes:
        """The body as JSON that means the same to every reader; raises Malformed otherwise."""
        body = await self.body()
        if body:
            require_sound_json(body)
        return body

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than {self.max_body // 1024} KiB.")

    async def _next(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft("The client left before its request was whole.")
        return message
