"""The pipeline every request goes through: who is asked, who asks, may a page do this; then the route."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from urllib.parse import parse_qsl

from edge.http.addresses import ClientAddresses
from edge.http.credentials import Unauthenticated, credential_of
from edge.http.exchange import exchange_of, header_lines
from edge.http.origins import Origins
from edge.http.problems import problem
from edge.http.request import MAX_BODY, Receive, Request, Scope
from edge.http.response import Header, Response
from edge.identities import Identities, Known
from edge.metrics import Meter
from edge.refusals import Refusals
from shared.bus.notes import forget_notes, noted_headers
from shared.errors import ErrorCode, FieldError, Forbidden, InvalidFields, Overloaded, PlatformError, Unavailable
from shared.logging import trace_id_of_call
from shared.principal import Caller, Origin, PrincipalKind

MAX_IN_FLIGHT = 2000

Handler = Callable[[Request], Awaitable[Response]]
HotRoutes = Mapping[tuple[str, str], Callable[[Request, Known], Awaitable[Response]]]

API = "/api/"
PUBLIC = frozenset({("POST", "/api/v1/auth/login"), ("POST", "/api/v1/auth/totp/verify")})
OPTIONAL = frozenset({("GET", "/health")})
GUARDED = frozenset({("GET", "/metrics")})
"""What is for those who are known, though it is not below API."""
WHILE_PASSWORD_IS_TEMPORARY = frozenset(
    {
        ("GET", "/health"),
        ("GET", "/api/v1/auth/me"),
        ("POST", "/api/v1/auth/password"),
        ("POST", "/api/v1/auth/logout"),
    }
)
WHILE_TOTP_IS_MISSING = WHILE_PASSWORD_IS_TEMPORARY | {
    ("POST", "/api/v1/auth/totp/setup"),
    ("POST", "/api/v1/auth/totp/confirm"),
}

_OWN_POLICY = frozenset({b"content-security-policy", b"referrer-policy", b"cache-control"})
_PLAIN_PATH = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_-.")

_log = logging.getLogger(__name__)


class NoSuchRoute(PlatformError):
    """Nothing is served under this path."""

    code = ErrorCode.NOT_FOUND
    reason = "not-found"


class PasswordChangeRequired(Forbidden):
    """The password was set by somebody else and opens nothing but its own change."""

    reason = "password-change-required"


class TotpRequired(Forbidden):
    """People of this role have to have a second factor, and this one has none."""

    reason = "totp-required"


class Stopping(Unavailable):
    """This replica is being stopped."""

    reason = "outcome-unknown"


class Pipeline:
    """The ASGI application: checks in a fixed order, then one switch between hot routes and the rest."""

    def __init__(
        self,
        *,
        hot: HotRoutes,
        rest: Handler,
        identities: Identities,
        origins: Origins,
        addresses: ClientAddresses,
        refusals: Refusals,
        meter: Meter,
        policy: Sequence[Header],
    ) -> None:
        self._hot = hot
        self._rest = rest
        self._identities = identities
        self._origins = origins
        self._addresses = addresses
        self._refusals = refusals
        self._meter = meter
        meter.in_flight = lambda: self._in_flight
        self._in_flight = 0
        self._policy = policy
        self._common = header_lines(policy)

    async def __call__(self, scope: Scope, receive: Receive, _send: object) -> None:
        """One request; the answer leaves by its `Exchange`, not by ASGI messages."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is switched off in uvicorn's configuration")
        began = time.perf_counter()
        request = self._request(scope, receive)
        forget_notes()  # those of the request before, which a pipelined one inherits
        self._in_flight += 1
        try:
            response = await self._answer(request)
        except asyncio.CancelledError:  # the server stops, and this took longer than it waits
            stopping = Stopping("The edge stopped while it waited for the answer; whether it was done is not known.")
            response = problem(stopping, request_id=request.request_id)
        finally:
            self._in_flight -= 1
        common, headers = self._common, response.all_headers()
        if response.headers:
            own = {name for name, _ in response.headers} & _OWN_POLICY
            if own:
                common = header_lines([header for header in self._policy if header[0] not in own])
        headers.append((b"x-request-id", request.request_id.encode()))
        notes = noted_headers()
        if notes is not None:
            headers += [(name.lower().encode(), value.encode()) for name, value in notes.items()]
        headers += self._origins.cors(request)
        await exchange_of(scope).answer(response.status, common, headers, response.body)
        self._meter.note(request, response.status, time.perf_counter() - began)

    def _request(self, scope: Scope, receive: Receive) -> Request:
        peer = scope["client"][0] if scope["client"] else ""
        request = Request(scope, receive, peer)
        if b"x-forwarded-for" in request.headers:
            forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            request.ip_address = self._addresses.behind(peer, b",".join(forwarded))
        return request

    async def _answer(self, request: Request) -> Response:
        try:
            response = await self._respond(request)
        except PlatformError as error:
            response = problem(error, request_id=request.request_id)
        except Exception:
            trace_id_of_call.set(request.event_id)
            _log.exception("request_failed", extra={"method": request.method, "requestId": request.request_id})
            mistake = PlatformError("Something went wrong on our side; the request id leads to the log.")
            response = problem(mistake, request_id=request.request_id)
        self._refusals.note(request, response)
        return response

    async def _respond(self, request: Request) -> Response:
        request.require_sound_headers()
        if self._in_flight > MAX_IN_FLIGHT:
            raise Overloaded("Too many requests are under way.")
        self._origins.require_known_host(request)
        hot = self._hot.get((request.method, request.path))
        if hot is None:
            _require_plain(request.path)
        _require_each_parameter_once(request.scope["query_string"])
        if self._origins.is_preflight(request):
            return self._origins.preflight(request)
        known = await self._identify(request)
        if hot is not None and known is not None:
            return await hot(request, known)
        return await self._rest(request)

    async def _identify(self, request: Request) -> Known | None:
        """Finds out who asks, and refuses what they may not do whatever the route is."""
        request.caller = _anonymous(request.ip_address, request.user_agent)
        route = (request.method, request.path)
        if route in PUBLIC:
            self._origins.require_no_foreign_page(request)
            request.require_json()
            return None
        if not request.path.startswith(API) and route not in OPTIONAL and route not in GUARDED:
            return None
        credential = credential_of(request)
        if credential is None:
            if route in OPTIONAL:
                return None
            raise Unauthenticated("Sign in, or send an API key as `Authorization: Bearer …`.")
        known = await self._identities.of(credential)
        request.caller = known.caller_from(request.ip_address, request.user_agent)
        request.max_body = MAX_BODY
        self._require_intended(request, known)
        return known

    def _require_intended(self, request: Request, known: Known) -> None:
        by_cookie = known.identity.principal.kind is PrincipalKind.SESSION
        if request.changes_something:
            if by_cookie:
                self._origins.require_own_page(request)
            request.require_json()
        route, user = (request.method, request.path), known.identity.user
        if by_cookie and user.must_change_password and route not in WHILE_PASSWORD_IS_TEMPORARY:
            raise PasswordChangeRequired("Change the password first: POST /api/v1/auth/password.")
        if user.must_enable_totp and route not in WHILE_TOTP_IS_MISSING:
            raise TotpRequired("Set up a second factor first, signed in: POST /api/v1/auth/totp/setup.")


def _require_plain(path: str) -> None:
    if not _PLAIN_PATH.issuperset(path) or "//" in path or "/." in path:
        raise NoSuchRoute("Nothing is served here.")


def _require_each_parameter_once(query: bytes) -> None:
    if not query:
        return
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]  # decoded: `l%69mit` is `limit`
    if len(set(names)) != len(names):
        raise InvalidFields("A parameter stands there twice.", errors=(FieldError("query", "name each once"),))


@lru_cache(maxsize=4096)
def _anonymous(ip_address: str, user_agent: str) -> Caller:
    return Caller(origin=Origin(ip_address=ip_address, user_agent=user_agent))
