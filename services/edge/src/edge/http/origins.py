"""Hosts and origins: who this edge is, and whose pages may speak through a browser (CORS, CSRF)."""

from edge.http.request import Request
from edge.http.response import Header, Response
from shared.errors import ErrorCode, Forbidden, PlatformError

_ALLOWED_METHODS = b"GET, POST, PUT, DELETE"
_OF_OPENAIS_CLIENT = [
    f"X-Stainless-{each}"
    for each in (
        *("Arch", "Async", "Custom-Poll-Interval", "Helper-Method", "Lang", "OS", "Package-Version", "Poll-Helper"),
        *("Read-Timeout", "Retry-Count", "Runtime", "Runtime-Version", "Timeout"),
    )
]
_ALLOWED_HEADERS = ", ".join(
    (
        *("Authorization", "Content-Type", "If-Match", "Idempotency-Key", "Peanut-Timeout", "X-Request-Id"),
        *("traceparent", "OpenAI-Organization", "OpenAI-Project", *_OF_OPENAIS_CLIENT),
    )
).encode()
_EXPOSED_HEADERS = (
    b"ETag, Idempotency-Replayed, Location, Peanut-Agent, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, "
    b"X-Should-Retry"
)


class UnknownHost(PlatformError):
    """The request names a host that is not this edge: DNS rebinding, or a proxy that is not configured."""

    code = ErrorCode.MISDIRECTED
    reason = "unknown-host"


class ForeignOrigin(Forbidden):
    """A page of another origin tries to change something with the browser's cookie."""

    reason = "foreign-origin"


class Origins:
    """Decides by exact comparison with what is configured, never by what the request says of itself."""

    def __init__(self, *, hosts: frozenset[str], origins: frozenset[str]) -> None:
        self._hosts = frozenset(host.encode() for host in hosts)
        self._origins = frozenset(origin.encode() for origin in origins)

    def require_known_host(self, request: Request) -> None:
        """Raises UnknownHost unless Host names this edge."""
        if request.headers.get(b"host", b"").lower() not in self._hosts:
            raise UnknownHost("This host is not served here; set PUBLIC_URL to the address that clients use.")

    def require_own_page(self, request: Request) -> None:
        """Raises ForeignOrigin unless Origin is one of ours; a missing one is not."""
        if request.headers.get(b"origin") not in self._origins:
            raise ForeignOrigin("Changes with a session cookie need an Origin from CORS_ORIGIN or PUBLIC_URL.")

    def require_no_foreign_page(self, request: Request) -> None:
        """Raises ForeignOrigin when an Origin is given that is not one of ours."""
        if b"origin" in request.headers:
            self.require_own_page(request)

    def is_preflight(self, request: Request) -> bool:
        """Whether a browser asks if a page of another origin may send a request."""
        return request.method == "OPTIONS" and b"access-control-request-method" in request.headers

    def preflight(self, request: Request) -> Response:
        """The answer to a preflight; without the CORS headers, which the caller adds for our origins, it is a no."""
        return Response(
            204,
            headers=(
                (b"access-control-allow-methods", _ALLOWED_METHODS),
                (b"access-control-allow-headers", _ALLOWED_HEADERS),
                (b"access-control-max-age", b"600"),
            )
            if request.headers.get(b"origin") in self._origins
            else (),
        )

    def cors(self, request: Request) -> tuple[Header, ...]:
        """The headers that let a page of one of our origins read the answer."""
        origin = request.headers.get(b"origin")
        if origin is None:
            return ()
        if origin not in self._origins:
            return ((b"vary", b"Origin"),)
        return (
            (b"vary", b"Origin"),
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", _EXPOSED_HEADERS),
        )
