"""Failures as answers and as last events of streams: the one place that knows the HTTP statuses of failures.

Under `/v1/` they have the form that OpenAI's clients read, everywhere else that of problem details (RFC 9457).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

from edge.http.response import Header, Response
from shared.errors import ErrorCode, PlatformError

OPENAI = "/v1/"
"""What the paths of OpenAI's API begin with."""
MAX_RETRY_AFTER_S = 60
"""OpenAI's clients wait no longer for more: older ones then try again much too early."""


class Form(NamedTuple):
    """How failures of one code look: their status, and what OpenAI calls their type."""

    status: HTTPStatus
    openai_type: str = "invalid_request_error"


FORMS: Mapping[ErrorCode, Form] = {
    ErrorCode.MALFORMED: Form(HTTPStatus.BAD_REQUEST),
    ErrorCode.UNAUTHENTICATED: Form(HTTPStatus.UNAUTHORIZED, "authentication_error"),
    ErrorCode.FORBIDDEN: Form(HTTPStatus.FORBIDDEN, "permission_error"),
    ErrorCode.NOT_FOUND: Form(HTTPStatus.NOT_FOUND),
    ErrorCode.METHOD_NOT_ALLOWED: Form(HTTPStatus.METHOD_NOT_ALLOWED),
    ErrorCode.CONFLICT: Form(HTTPStatus.CONFLICT),
    ErrorCode.PRECONDITION_FAILED: Form(HTTPStatus.PRECONDITION_FAILED),
    ErrorCode.TOO_LARGE: Form(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: Form(HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    ErrorCode.MISDIRECTED: Form(HTTPStatus.MISDIRECTED_REQUEST),
    ErrorCode.INVALID: Form(HTTPStatus.UNPROCESSABLE_ENTITY),
    ErrorCode.RATE_LIMITED: Form(HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_error"),
    ErrorCode.INTERNAL: Form(HTTPStatus.INTERNAL_SERVER_ERROR, "server_error"),
    ErrorCode.BAD_GATEWAY: Form(HTTPStatus.BAD_GATEWAY, "api_error"),
    ErrorCode.UNAVAILABLE: Form(HTTPStatus.SERVICE_UNAVAILABLE, "api_error"),
    ErrorCode.TIMEOUT: Form(HTTPStatus.GATEWAY_TIMEOUT, "api_error"),
}

_OPENAI_CODES = {
    "unauthenticated": "invalid_api_key",
    "bad-credential": "invalid_api_key",
    "invalid-api-key": "invalid_api_key",
    "model-not-found": "model_not_found",
    "rate-limited": "rate_limit_exceeded",
    "token-budget-exhausted": "insufficient_quota",
}
"""What OpenAI has a name of its own for; all else keeps our reason."""
_INSUFFICIENT_QUOTA = "insufficient_quota"
_MAY_BE_DONE = frozenset({"outcome-unknown", "stream-broken"})
_RETRIED = frozenset({HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})


def problem(error: PlatformError, *, request_id: str, status: HTTPStatus | None = None) -> Response:
    """The answer to a request that failed; `status` only for what is known below HTTP's own layer."""
    status = status or FORMS[error.code].status
    body = _problem_details(error, request_id, status)
    headers = _headers(error, status)
    return Response(int(status), orjson.dumps(body), b"application/problem+json", headers, reason=error.reason)


def openai_error(error: PlatformError) -> Response:
    """The same as OpenAI's clients read it; `x-should-retry` keeps them from trying again what costs twice."""
    form = FORMS[error.code]
    status = HTTPStatus.BAD_REQUEST if error.code is ErrorCode.INVALID else form.status
    headers = _headers(error, status)
    if (status in _RETRIED or status >= 500) and not _is_worth_a_retry(error):
        headers = (*headers, (b"x-should-retry", b"false"))
    return Response(int(status), orjson.dumps(_openai_body(error)), headers=headers, reason=error.reason)


def failure(error: PlatformError, *, path: str, request_id: str) -> Response:
    """The answer to a request that failed, in the form of its path."""
    if path.startswith(OPENAI):
        return openai_error(error)
    return problem(error, request_id=request_id)


def problem_event(error: PlatformError, request_id: str) -> bytes:
    """Problem details as an event `error`."""
    details = _problem_details(error, request_id, FORMS[error.code].status)
    return b"event: error\ndata: %b\n\n" % orjson.dumps(details)


def openai_event(error: PlatformError, _request_id: str) -> bytes:
    """What OpenAI's clients raise when they read it in a stream; no `[DONE]` follows."""
    return b"data: %b\n\n" % orjson.dumps(_openai_body(error))


def _problem_details(error: PlatformError, request_id: str, status: HTTPStatus) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": f"/problems/{error.reason}",
        "title": error.reason.replace("-", " ").capitalize(),
        "status": int(status),
        "detail": error.detail,
        "requestId": request_id,
    }
    if error.code is ErrorCode.INVALID:
        body["errors"] = [{"path": field.path, "message": field.message} for field in error.errors]
    return body


def _openai_body(error: PlatformError) -> dict[str, Any]:
    code = _OPENAI_CODES.get(error.reason, error.reason)
    first = error.errors[0] if error.errors else None
    return {
        "error": {
            "message": f"{error.detail} {first.path}: {first.message}" if first else error.detail,
            "type": _INSUFFICIENT_QUOTA if code == _INSUFFICIENT_QUOTA else FORMS[error.code].openai_type,
            "param": first.path if first else None,
            "code": code,
        }
    }


def _is_worth_a_retry(error: PlatformError) -> bool:
    """Whether nothing was done, and may be done soon: else a retry has agents work, and be paid, once more."""
    match error.code:
        case ErrorCode.RATE_LIMITED:
            is_soon = error.retry_after is not None and error.retry_after <= MAX_RETRY_AFTER_S
            return is_soon and _OPENAI_CODES.get(error.reason) != _INSUFFICIENT_QUOTA
        case ErrorCode.UNAVAILABLE:
            return error.reason not in _MAY_BE_DONE
    return False


def _headers(error: PlatformError, status: HTTPStatus) -> tuple[Header, ...]:
    headers: tuple[Header, ...] = ()
    if error.retry_after is not None:
        headers = ((b"retry-after", b"%d" % error.retry_after),)
    if status is HTTPStatus.UNAUTHORIZED:
        headers = (*headers, (b"www-authenticate", b"Bearer"))
    return headers
