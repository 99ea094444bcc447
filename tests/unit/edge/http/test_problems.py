import orjson
import pytest

from edge.http.problems import STATUS, problem
from shared.errors import ErrorCode, FieldError, InvalidFields, PlatformError, Unavailable


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(ErrorCode)


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
