"""The OpenAPI document and its page; every asset comes from here, none from a CDN."""

import asyncio
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from edge.http.pipeline import GUARDED, PUBLIC
from edge.http.problems import OPENAI
from edge.routes.hot_descriptions import CHAT, DISPATCH, EMBEDDINGS, hot_descriptions, schemas_of_events
from shared import VERSION

PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # Swagger UI styles its elements itself
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>PeanutAgent API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """window.ui = SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, tryItOutEnabled: true, persistAuthorization: false,
});
"""
_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "requestId"],
    "properties": {
        "type": {"type": "string", "examples": ["/problems/agent-not-found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "requestId": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}

_OPENAI_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string", "examples": ["invalid_request_error"]},
                "param": {"type": ["string", "null"], "description": "The first field that is not as it should be."},
                "code": {"type": "string", "examples": ["model_not_found"]},
            },
        }
    },
}

LIMITED = frozenset(
    {
        "/api/v1/auth/login",
        "/api/v1/auth/password",
        "/api/v1/auth/totp",
        "/api/v1/auth/totp/backup-codes",
        "/api/v1/auth/totp/confirm",
        "/api/v1/auth/totp/setup",
        "/api/v1/auth/totp/verify",
        DISPATCH,
        CHAT,
        EMBEDDINGS,
    }
)
"""Where something is counted: a password or a code that is looked at, a request, its tokens."""

_LIMIT_HEADERS = {
    "RateLimit": {
        "description": "What is left of each limit that was met (`r`), and the seconds until it is whole again (`t`).",
        "schema": {"type": "string", "examples": ['"login";r=7;t=42']},
    },
    "RateLimit-Policy": {
        "description": "The limits that were met: how often (`q`) in how many seconds (`w`).",
        "schema": {"type": "string", "examples": ['"login";q=10;w=60']},
    },
}
_AGENT_HEADER = {
    "Peanut-Agent": {
        "description": "The id of the agent that answered, or of the last one that was tried.",
        "schema": {"type": "string"},
    },
}
_REPLAYED_HEADER = {
    "Idempotency-Replayed": {
        "description": "`true` when this is the answer to an earlier request with the same `Idempotency-Key`.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_FAILURE_HEADERS = {
    "Retry-After": {
        "description": "Seconds to wait, with 429 and 503.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "X-Should-Retry": {
        "description": "`false` where a retry would be done twice or in vain; OpenAI's clients obey.",
        "schema": {"type": "string", "enum": ["false"]},
    },
}


def documentation_routes() -> APIRouter:
    """`/openapi.json`, `/docs` and its files."""
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    async def document(request: Request) -> Response:
        # A second's work, once: in a thread, it holds up nobody's dispatch.
        return JSONResponse(await asyncio.to_thread(request.app.openapi))

    @router.get("/docs")
    async def page() -> Response:
        return _static(_PAGE.encode(), "text/html")

    @router.get("/docs/start.js")
    async def start() -> Response:
        return _static(_START.encode(), "text/javascript")

    for name, media_type in _ASSETS.items():
        router.add_api_route(f"/docs/{name}", _asset(name, media_type), methods=["GET"])
    return router


def describe(app: FastAPI) -> dict[str, Any]:
    """The document of all routes: FastAPI's own, and the hot ones from the same contracts."""
    document = get_openapi(
        title="PeanutAgent",
        version=VERSION,
        description="One door to an organisation's AI agents, with a record that nobody can alter unseen.",
        routes=[*app.routes, *hot_descriptions()],
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= {"Problem": _PROBLEM, "OpenAiError": _OPENAI_ERROR, **schemas_of_events()}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    document["components"]["headers"] = {**_LIMIT_HEADERS, **_AGENT_HEADER, **_REPLAYED_HEADER, **_FAILURE_HEADERS}
    document["components"]["securitySchemes"] = {
        "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: `peanut_…`"},
        "session": {"type": "apiKey", "in": "cookie", "name": "__Host-session"},
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _add_failures(operation, is_openai=path.startswith(OPENAI))
            if path in LIMITED:
                _add_limits(operation)
            if path in (DISPATCH, CHAT, EMBEDDINGS):
                for response in operation["responses"].values():
                    response["headers"] |= _references((*_AGENT_HEADER, *_REPLAYED_HEADER))
            route = (method.upper(), path)
            if path.startswith(OPENAI):
                operation["security"] = [{"apiKey": []}]
            elif route in GUARDED or (path.startswith("/api/") and route not in PUBLIC):
                operation["security"] = [{"apiKey": []}, {"session": []}]
    return document


def _add_failures(operation: dict[str, Any], *, is_openai: bool) -> None:
    operation["responses"].pop("422", None)
    if is_openai:
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAiError"}}}
        failure = {"description": "An error in OpenAI's form", "headers": _references(("X-Should-Retry",))}
    else:
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        failure = {"description": "A problem (RFC 9457)"}
    operation["responses"]["default"] = {**failure, "content": content}


def _add_limits(operation: dict[str, Any]) -> None:
    for response in operation["responses"].values():
        response.setdefault("headers", {}).update(_references(_LIMIT_HEADERS))
    operation["responses"]["default"]["headers"] |= _references(("Retry-After",))


def _references(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _asset(name: str, media_type: str) -> Any:
    async def serve() -> Response:
        return _static((files("fastapi_standalone_docs") / "static" / "swagger" / name).read_bytes(), media_type)

    return serve


def _static(body: bytes, media_type: str) -> Response:
    headers = {
        "content-security-policy": PAGE_POLICY,
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
    }
    return Response(body, media_type=media_type, headers=headers)
