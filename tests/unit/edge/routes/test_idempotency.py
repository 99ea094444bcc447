"""The Idempotency-Key of a request."""

import pytest

from edge.http.request import RepeatedHeader
from edge.routes.idempotency import keyed
from shared.bus import Kind
from shared.errors import InvalidFields
from tests.unit.edge.requests import request


@pytest.mark.parametrize("key", ["a", "!~", "k" * 255, '"3f0c0a8e"'])
def test_a_key_goes_with_the_call(key: str) -> None:
    context = keyed(request("POST", headers=[("idempotency-key", key)]), Kind.DISPATCH)

    assert context.idempotency_key == key
    assert 119 < context.remaining() <= 120


def test_without_one_there_is_none() -> None:
    assert keyed(request("POST"), Kind.DISPATCH).idempotency_key == ""


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 256, "\xfc", "a\tb"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        keyed(request("POST", headers=[("idempotency-key", key)]), Kind.DISPATCH)

    assert [error.path for error in refused.value.errors] == ["Idempotency-Key"]


def test_two_of_them_are_refused() -> None:
    with pytest.raises(RepeatedHeader):
        request("POST", headers=[("idempotency-key", "a"), ("idempotency-key", "a")])
