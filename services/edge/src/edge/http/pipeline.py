"""The pipeline every request goes through: who is asked, who asks, may a page do this; then the route."""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qsl

from edge.http.addresses import ClientAddresses
from edge.http.credentials import Unauthenticated, credential_of, key_of
from edge.http.exchange import exchange_of, header_lines
from edge.http.origins import Origins
from edge.http.problems import OPENAI, failure
from edge.http.request import MAX_BODY, Receive, Request, Scope
from edge.http.response import Header, Response, Streamed
from edge.identities import Identities, Known
from edge.metrics import Meter
from edge.refusals import Refusals
from shared.bus.notes import forget_notes, noted_headers
from shared.errors import ErrorCode, FieldError, Forbidden, InvalidFields, Overloaded, PlatformError, Unavailable
from shared.logging import trace_id_of_call
from shared.principal import Caller, Origin, PrincipalKind

MAX_IN_FLIGHT = 2000

Handler = Callable[[Request], Awaitable[Response]]
HotHandler = Callable[[Request, Known], Awaitable[Response | Streamed]]
HotRoutes = Mapping[tuple[str, str], HotHandler]
"""By method and path. A path that ends in `{…}` takes whatever follows: a `/` is part of some names."""

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
_CONVERSATIONS = "/api/v1/openclaw/sessions/"
_ESCAPED_NAME = re.compile(r"(?!\.{1,2}\Z)(?:[\w.~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+", re.ASCII)
"""One part of a path (RFC 3986, section 3.3)."""
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
        self._below = [(method, path.partition("{")[0], each) for (method, path), each in hot.items() if "{" in path]
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
            status = await self._serve(request)
        finally:
            self._in_flight -= 1
            # Scope, exchange and uvicorn's cycle hold each other: 6 KB that the collector finds after 8,000 requests.
            del scope["extensions"]
        self._meter.note(request, status, time.perf_counter() - began)

    async def _serve(self, request: Request) -> int:
        """Answers, whatever comes; when this returns its status, the answer is over."""
        try:
            answer = await self._respond(request)
            if isinstance(answer, Streamed):
                with self._meter.streaming():
                    response = await self._stream(request, answer)
            else:
                response = answer
        except (Exception, asyncio.CancelledError) as error:
            response = failure(self._known_failure(request, error), path=request.path, request_id=request.request_id)
        if response is None:
            return HTTPStatus.OK
        self._refusals.note(request, response)
        await exchange_of(request.scope).answer(response.status, *self._head(request, response), response.body)
        return response.status

    async def _stream(self, request: Request, streamed: Streamed) -> Response | None:
        """Writes all pieces as they come; returns the ordinary answer where there are none.

        What fails before the first piece is raised. What fails later is the last event, or breaks the connection: the
        status is gone by then.
        """
        exchange = exchange_of(request.scope)
        last = b""
        try:
            with exchange.while_client_waits():
                async with streamed.open() as source:
                    piece = await source.piece()
                    if piece is None:
                        return Response(200, source.answer)
                    head = self._head(request, streamed)
                    wants_more = await exchange.begin(streamed.status, *head, piece, comment=streamed.comment)
                    while wants_more and (piece := await source.piece()) is not None:
                        await exchange.go_on(piece)
        except (Exception, asyncio.CancelledError) as error:
            if not exchange.has_begun:
                raise
            known = self._known_failure(request, error)
            if streamed.failed is None:
                exchange.break_off()
                return None
            last = streamed.failed(known, request.request_id)
        exchange.end(last)
        return None

    def _head(self, request: Request, response: Response | Streamed) -> tuple[bytes, list[Header]]:
        """The headers that are the same for most answers, as one block, and the others."""
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
        return common, headers

    def _request(self, scope: Scope, receive: Receive) -> Request:
        peer = scope["client"][0] if scope["client"] else ""
        request = Request(scope, receive, peer)
        if b"x-forwarded-for" in request.headers:
            forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            request.ip_address = self._addresses.behind(peer, b",".join(forwarded))
        return request

    def _known_failure(self, request: Request, error: BaseException) -> PlatformError:
        """The failure as it may be shown; one that is not expected is logged."""
        if isinstance(error, PlatformError):
            return error
        if isinstance(error, asyncio.CancelledError):  # the server stops, and this took longer than it waits
            return Stopping("The edge stopped while it waited for the answer; whether it was done is not known.")
        trace_id_of_call.set(request.event_id)
        _log.error("request_failed", exc_info=error, extra={"method": request.method, "requestId": request.request_id})
        return PlatformError("Something went wrong on our side; the request id leads to the log.")

    async def _respond(self, request: Request) -> Response | Streamed:
        request.require_sound_headers()
        if self._in_flight > MAX_IN_FLIGHT:
            raise Overloaded("Too many requests are under way.")
        self._origins.require_known_host(request)
        hot = self._hot.get((request.method, request.path)) or self._hot_below(request)
        if hot is None:
            _require_plain(request.path)
        _require_each_parameter_once(request.scope["query_string"])
        if self._origins.is_preflight(request):
            return self._origins.preflight(request)
        known = await self._identify(request)
        if hot is not None and known is not None:
            return await hot(request, known)
        return await self._rest(request)

    def _hot_below(self, request: Request) -> HotHandler | None:
        for method, path, handler in self._below:
            if method == request.method and request.path.startswith(path):
                return handler
        return None

    async def _identify(self, request: Request) -> Known | None:
        """Finds out who asks, and refuses what they may not do whatever the route is."""
        request.caller = _anonymous(request.ip_address, request.user_agent)
        route = (request.method, request.path)
        if route in PUBLIC:
            self._origins.require_no_foreign_page(request)
            request.require_json()
            return None
        is_openai = request.path.startswith(OPENAI)
        is_guarded = request.path.startswith(API) or is_openai or route in GUARDED
        if not is_guarded and route not in OPTIONAL:
            return None
        credential = key_of(request) if is_openai else credential_of(request)
        if credential is None:
            if route in OPTIONAL:
                return None
            sign_in = "Send" if is_openai else "Sign in, or send"
            raise Unauthenticated(f"{sign_in} an API key as `Authorization: Bearer …`.")
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
    if path.startswith(_CONVERSATIONS):  # the only things in paths whose names people choose
        is_plain = _ESCAPED_NAME.fullmatch(path, len(_CONVERSATIONS)) is not None
    else:
        is_plain = _PLAIN_PATH.issuperset(path) and "//" not in path and "/." not in path
    if not is_plain:
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
