"""An answer, whole in memory."""

from dataclasses import dataclass, replace

Header = tuple[bytes, bytes]

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

    def with_body_headers(self, common: list[Header]) -> list[Header]:
        """All headers; `common` are those that every answer carries."""
        common += self.headers
        if self.status != 204:  # which has none (RFC 9110, 8.6)
            common.append((b"content-length", b"%d" % len(self.body)))
        if self.body:
            common.append((b"content-type", self.content_type))
        return common
