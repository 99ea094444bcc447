"""The one place where failures leave a service, and the one where they are raised again."""

import json
import logging
from collections.abc import Mapping

import orjson

from shared.errors import ErrorCode, FieldError, PlatformError, RemoteFailure

CODE = "Nats-Service-Error-Code"
REASON = "Nats-Service-Error"

_log = logging.getLogger(__name__)


def to_wire(error: BaseException, *, trace_id: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of a failure. An unexpected one is logged and leaves without a word of itself."""
    if not isinstance(error, PlatformError):
        _log.error("handler_failed", exc_info=error, extra={"traceId": trace_id})
        error = PlatformError("Something went wrong on our side; the trace id leads to the log.")
    body = {
        "detail": error.detail,
        "errors": [{"path": field.path, "message": field.message} for field in error.errors],
        "retryAfter": error.retry_after,
    }
    try:
        content = orjson.dumps(body)
    except TypeError:  # half of a surrogate pair, from text that came in some other way than as JSON
        content = json.dumps(body, ensure_ascii=False).encode(errors="replace")
    return {CODE: error.code.value, REASON: error.reason}, content


def from_wire(headers: Mapping[str, str], body: bytes) -> RemoteFailure:
    """The failure that another service sent."""
    try:
        code = ErrorCode(headers[CODE])
        problem = orjson.loads(body)
        errors = tuple(FieldError(item["path"], item["message"]) for item in problem["errors"])
        return RemoteFailure(code, headers[REASON], problem["detail"], errors=errors, retry_after=problem["retryAfter"])
    except (KeyError, ValueError, TypeError):
        return RemoteFailure(
            ErrorCode.INTERNAL, "internal", "A service answered with a failure that is not understood."
        )
