"""The FastAPI application behind the pipeline: rare routes and documents. It has no middleware of its own."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache
from itertools import zip_longest
from threading import Lock
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request as FastRequest
from fastapi.responses import Response as FastResponse
from starlette.exceptions import HTTPException
from starlette.routing import Route

from edge.exposition import Exposition
from edge.health import HealthCheck
from edge.http.pipeline import NoSuchRoute
from edge.http.problems import failure
from edge.http.request import Request
from edge.http.response import Response
from edge.routes.agents import agent_routes
from edge.routes.audit import audit_routes
from edge.routes.auth import auth_routes
from edge.routes.call import REQUEST
from edge.routes.conversations import conversation_routes
from edge.routes.documentation import describe, documentation_routes
from edge.routes.hot_descriptions import hot_descriptions
from edge.routes.metrics import metric_routes
from edge.routes.operations import operation_routes
from edge.routes.parameters import require_known_parameters
from edge.routes.second_factor import second_factor_routes
from edge.routes.sessions import session_routes
from edge.routes.users import user_routes
from shared.bus import Bus
from shared.bus.messages import invalid_fields
from shared.errors import ErrorCode, PlatformError

Rest = Callable[[Request], Awaitable[Response]]

_NOT_THAT_METHOD = "This path does not take that method."


class MethodNotAllowed(PlatformError):
    """The path is served, but not with this method."""

    code = ErrorCode.METHOD_NOT_ALLOWED
    reason = "method-not-allowed"


def fastapi_app(bus: Bus, health: HealthCheck, exposition: Exposition) -> FastAPI:
    """The application with all its routes."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.routes = []
    for router in (
        auth_routes(bus),
        second_factor_routes(bus),
        session_routes(bus),
        user_routes(bus),
        agent_routes(bus),
        metric_routes(bus, exposition),
        conversation_routes(bus),
        audit_routes(bus),
        operation_routes(health),
        documentation_routes(),
    ):
        app.include_router(router)
        app.state.routes += [route for route in router.routes if isinstance(route, Route)]
    lock = Lock()
    app.openapi = lambda: _once(app, lock)  # type: ignore[method-assign]  # FastAPI's documented way
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unrouted)
    return app


def behind_pipeline(app: FastAPI) -> Rest:
    """The application as a handler of the pipeline: its answers are small, so they are taken whole."""
    served = [*app.state.routes, *hot_descriptions()]

    async def handle(request: Request) -> Response:
        require_known_parameters(app.state.routes, request)
        body = await request.sound_json()
        answer = _Answer()
        try:
            await app({**request.scope, "method": request.method, REQUEST: request}, _receiving(body), answer.take)
        except (MethodNotAllowed, NoSuchRoute) as error:
            allowed = _methods(served, request.path)
            if not allowed:
                raise
            refusal = error if isinstance(error, MethodNotAllowed) else MethodNotAllowed(_NOT_THAT_METHOD)  # a hot one
            refused = failure(refusal, path=request.path, request_id=request.request_id)
            return refused.with_headers((b"allow", ", ".join(sorted(allowed)).encode()))
        return answer.response()

    return handle


class _Answer:
    def __init__(self) -> None:
        self._start: MutableMapping[str, Any] = {}
        self._body = bytearray()

    async def take(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._body += message.get("body", b"")

    def response(self) -> Response:
        content_type, headers = b"", []
        for name, value in self._start["headers"]:
            if name == b"content-type":
                content_type = value
            elif name != b"content-length":
                headers.append((name, value))
        return Response(self._start["status"], bytes(self._body), content_type, tuple(headers))


def routes_of(app: FastAPI, hot: Iterable[str]) -> Callable[[str], str]:
    """What finds the route that serves a path, a `hot` one or the application's.

    All other paths are one, `unknown`, as strangers can make up any number of them. Paths asked for again cost nothing.
    """
    templates = (*hot, *(route.path for route in app.state.routes))

    @lru_cache(maxsize=4096)
    def route_of(path: str) -> str:
        return next((template for template in templates if _matches(template, path)), "unknown")

    return route_of


def _methods(served: Iterable[Route], path: str) -> set[str]:
    """What the routes take under this path."""
    return {method for route in served if _matches(route.path, path) for method in route.methods or ()}


def _matches(template: str, path: str) -> bool:
    pairs = list(zip_longest(template.split("/"), path.split("/")))
    return all(wanted == part or (bool(part) and (wanted or "").startswith("{")) for wanted, part in pairs)


async def _invalid(_request: FastRequest, error: Exception) -> FastResponse:
    """Raises it in our words; the pipeline turns every PlatformError that leaves FastAPI into an answer."""
    assert isinstance(error, RequestValidationError)
    raise invalid_fields([{**found, "loc": found["loc"][1:]} for found in error.errors()]) from None


async def _unrouted(_request: FastRequest, error: Exception) -> FastResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        raise MethodNotAllowed(_NOT_THAT_METHOD) from None
    raise NoSuchRoute("Nothing is served here.") from None


def _once(app: FastAPI, lock: Lock) -> dict[str, Any]:
    with lock:  # asked for from threads
        if app.openapi_schema is None:
            app.openapi_schema = describe(app)
        return app.openapi_schema


def _receiving(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
