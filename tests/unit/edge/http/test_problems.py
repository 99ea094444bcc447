import orjson
import pytest

from edge.http.problems import FORMS, failure, openai_error, openai_event, problem, problem_event
from shared.errors import ErrorCode, FieldError, InvalidFields, PlatformError, RemoteFailure, Unavailable


def test_every_code_has_a_form() -> None:
    assert set(FORMS) == set(ErrorCode)


def test_invalid_fields_are_named() -> None:
    answer = problem(InvalidFields("No.", errors=(FieldError("tags.0", "too long"),)), request_id="r")

    assert answer.status == 422
    assert answer.content_type == b"application/problem+json"
    assert orjson.loads(answer.body) == {
        "type": "/problems/invalid-fields",
        "title": "Invalid fields",
        "status": 422,
        "detail": "No.",
        "requestId": "r",
        "errors": [{"path": "tags.0", "message": "too long"}],
    }


def test_what_is_unavailable_says_when_to_try_again() -> None:
    assert (b"retry-after", b"7") in problem(Unavailable("Later.", retry_after=7), request_id="r").headers


@pytest.mark.parametrize("code", list(ErrorCode))
def test_only_unauthenticated_asks_for_a_credential(code: ErrorCode) -> None:
    error = PlatformError("x")
    error.code = code

    headers = dict(problem(error, request_id="r").headers)

    assert (b"www-authenticate" in headers) == (code is ErrorCode.UNAUTHENTICATED)


def _body(error: PlatformError) -> dict[str, object]:
    body: dict[str, object] = orjson.loads(openai_error(error).body)["error"]
    return body


@pytest.mark.parametrize(
    ("code", "reason", "status", "openai_type", "openai_code"),
    [
        (ErrorCode.MALFORMED, "malformed-json", 400, "invalid_request_error", "malformed-json"),
        (ErrorCode.INVALID, "invalid-fields", 400, "invalid_request_error", "invalid-fields"),
        (ErrorCode.UNAUTHENTICATED, "unauthenticated", 401, "authentication_error", "invalid_api_key"),
        (ErrorCode.UNAUTHENTICATED, "bad-credential", 401, "authentication_error", "invalid_api_key"),
        (ErrorCode.UNAUTHENTICATED, "invalid-api-key", 401, "authentication_error", "invalid_api_key"),
        (ErrorCode.FORBIDDEN, "model-not-allowed", 403, "permission_error", "model-not-allowed"),
        (ErrorCode.NOT_FOUND, "model-not-found", 404, "invalid_request_error", "model_not_found"),
        (ErrorCode.NOT_FOUND, "not-found", 404, "invalid_request_error", "not-found"),
        (ErrorCode.METHOD_NOT_ALLOWED, "method-not-allowed", 405, "invalid_request_error", "method-not-allowed"),
        (ErrorCode.CONFLICT, "session-busy", 409, "invalid_request_error", "session-busy"),
        (ErrorCode.TOO_LARGE, "too-large", 413, "invalid_request_error", "too-large"),
        (ErrorCode.UNSUPPORTED_MEDIA_TYPE, "u", 415, "invalid_request_error", "u"),
        (ErrorCode.RATE_LIMITED, "rate-limited", 429, "rate_limit_error", "rate_limit_exceeded"),
        (ErrorCode.RATE_LIMITED, "token-budget-exhausted", 429, "insufficient_quota", "insufficient_quota"),
        (ErrorCode.INTERNAL, "internal", 500, "server_error", "internal"),
        (ErrorCode.BAD_GATEWAY, "agent-failed", 502, "api_error", "agent-failed"),
        (ErrorCode.UNAVAILABLE, "no-healthy-agents", 503, "api_error", "no-healthy-agents"),
        (ErrorCode.TIMEOUT, "deadline-passed", 504, "api_error", "deadline-passed"),
    ],
)
def test_openais_clients_read_the_status_the_type_and_the_code_they_know(
    code: ErrorCode, reason: str, status: int, openai_type: str, openai_code: str
) -> None:
    answer = openai_error(RemoteFailure(code, reason, "So it is."))

    assert (answer.status, answer.content_type, answer.reason) == (status, b"application/json", reason)
    assert orjson.loads(answer.body) == {
        "error": {"message": "So it is.", "type": openai_type, "param": None, "code": openai_code}
    }


def test_the_first_bad_field_is_openais_param() -> None:
    fields = (FieldError("messages.0.role", "is unknown"), FieldError("n", "too many"))

    body = _body(InvalidFields("No.", errors=fields))

    assert (body["param"], body["message"]) == ("messages.0.role", "No. messages.0.role: is unknown")


@pytest.mark.parametrize(
    ("code", "reason", "retry_after", "is_tried_again"),
    [
        (ErrorCode.UNAVAILABLE, "no-healthy-agents", 5, True),
        (ErrorCode.UNAVAILABLE, "audit-unavailable", 1, True),
        (ErrorCode.UNAVAILABLE, "overloaded", 1, True),
        (ErrorCode.RATE_LIMITED, "rate-limited", 60, True),
        (ErrorCode.RATE_LIMITED, "rate-limited", 61, False),
        (ErrorCode.RATE_LIMITED, "rate-limited", None, False),
        (ErrorCode.RATE_LIMITED, "token-budget-exhausted", 30, False),
        (ErrorCode.UNAVAILABLE, "outcome-unknown", 1, False),
        (ErrorCode.UNAVAILABLE, "stream-broken", 1, False),
        (ErrorCode.BAD_GATEWAY, "agent-failed", None, False),
        (ErrorCode.TIMEOUT, "deadline-passed", None, False),
        (ErrorCode.INTERNAL, "internal", None, False),
        (ErrorCode.CONFLICT, "session-busy", None, False),
    ],
)
def test_openais_clients_try_again_only_where_nothing_was_done_and_it_can_be_soon(
    code: ErrorCode, reason: str, retry_after: int | None, is_tried_again: bool
) -> None:
    headers = dict(openai_error(RemoteFailure(code, reason, "x", retry_after=retry_after)).headers)

    assert headers.get(b"x-should-retry") == (None if is_tried_again else b"false")
    assert headers.get(b"retry-after") == (None if retry_after is None else b"%d" % retry_after)


@pytest.mark.parametrize("code", [ErrorCode.MALFORMED, ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND, ErrorCode.INVALID])
def test_what_openais_clients_never_try_again_says_nothing_of_it(code: ErrorCode) -> None:
    assert openai_error(RemoteFailure(code, "x", "x")).headers == ()


@pytest.mark.parametrize(
    ("path", "form"),
    [("/v1/models", "error"), ("/v1/", "error"), ("/v1", "type"), ("/api/v1/agents", "type"), ("/v12/x", "type")],
)
def test_the_path_decides_the_form(path: str, form: str) -> None:
    answer = failure(Unavailable("Later."), path=path, request_id="r")

    assert form in orjson.loads(answer.body)


def test_the_last_event_of_a_stream_is_one_line_of_data() -> None:
    error = RemoteFailure(ErrorCode.BAD_GATEWAY, "agent-failed", "It said:\n\ndata: [DONE]\r\n\r\nevent: done")

    name, of_problem = problem_event(error, "r").decode().removesuffix("\n\n").split("\n")
    (of_openai,) = openai_event(error, "r").decode().removesuffix("\n\n").split("\n")

    assert name == "event: error"
    assert orjson.loads(of_problem.removeprefix("data: "))["status"] == 502
    assert orjson.loads(of_openai.removeprefix("data: "))["error"]["code"] == "agent-failed"
