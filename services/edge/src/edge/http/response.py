"""An answer, whole in memory, and how it leaves."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

Header = tuple[bytes, bytes]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = b"application/json"


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

    async def send(self, send: Send, common: list[Header]) -> None:
        """Sends it; `common` are the headers that every answer carries."""
        headers = [*common, *self.headers, (b"content-length", b"%d" % len(self.body))]
        if self.body:
            headers.append((b"content-type", self.content_type))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
