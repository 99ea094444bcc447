"""Problem details (RFC 9457): the one place that knows the HTTP statuses of failures."""

from collections.abc import Mapping
from http import HTTPStatus

import orjson

from edge.http.response import Response
from shared.errors import ErrorCode, PlatformError

STATUS: Mapping[ErrorCode, HTTPStatus] = {
    ErrorCode.MALFORMED: HTTPStatus.BAD_REQUEST,
    ErrorCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    ErrorCode.FORBIDDEN: HTTPStatus.FORBIDDEN,
    ErrorCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    ErrorCode.METHOD_NOT_ALLOWED: HTTPStatus.METHOD_NOT_ALLOWED,
    ErrorCode.CONFLICT: HTTPStatus.CONFLICT,
    ErrorCode.PRECONDITION_FAILED: HTTPStatus.PRECONDITION_FAILED,
    ErrorCode.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ErrorCode.MISDIRECTED: HTTPStatus.MISDIRECTED_REQUEST,
    ErrorCode.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    ErrorCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    ErrorCode.BAD_GATEWAY: HTTPStatus.BAD_GATEWAY,
    ErrorCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
}


def problem(error: PlatformError, *, request_id: str, status: HTTPStatus | None = None) -> Response:
    """The answer to a request that failed; `status` only for what is known below HTTP's own layer."""
    status = status or STATUS[error.code]
    body: dict[str, object] = {
        "type": f"/problems/{error.reason}",
        "title": error.reason.replace("-", " ").capitalize(),
        "status": int(status),
        "detail": error.detail,
        "requestId": request_id,
    }
    if error.code is ErrorCode.INVALID:
        body["errors"] = [{"path": field.path, "message": field.message} for field in error.errors]
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if error.retry_after is not None:
        headers = ((b"retry-after", b"%d" % error.retry_after),)
    if status is HTTPStatus.UNAUTHORIZED:
        headers = (*headers, (b"www-authenticate", b"Bearer"))
    return Response(int(status), orjson.dumps(body), b"application/problem+json", headers, reason=error.reason)
