import pytest

from edge.http.credentials import BadCredential, credential_of
from edge.http.request import RepeatedHeader
from tests.unit.edge.requests import request


def test_nothing_shown_is_nobody() -> None:
    assert credential_of(request(headers=[("cookie", "other=1; session=2")])) is None


def test_the_session_cookie_is_a_session() -> None:
    shown = credential_of(request(headers=[("cookie", "a=b; __Host-session=token")]))

    assert shown is not None
    assert (shown.is_key, shown.value) == (False, b"token")


def test_beside_a_cookie_only_authorization_counts() -> None:
    shown = credential_of(request(headers=[("cookie", "__Host-session=token"), ("authorization", "Bearer key")]))

    assert shown is not None
    assert (shown.is_key, shown.value) == (True, b"key")


@pytest.mark.parametrize(
    "value", ["Basic a2V5", "Bearer", "Bearer ", "key", "", "Bearer k\xe9y", "Bearer " + "x" * 5000]
)
def test_an_authorization_that_is_no_bearer_key_is_refused_even_beside_a_good_cookie(value: str) -> None:
    shown = request(headers=[("cookie", "__Host-session=token"), ("authorization", value)])

    with pytest.raises(BadCredential):
        credential_of(shown)


@pytest.mark.parametrize("cookie", ["__Host-session=a; __Host-session=a", "__Host-session=a; __Host-session=b"])
def test_two_session_cookies_are_none(cookie: str) -> None:
    with pytest.raises(BadCredential):
        credential_of(request(headers=[("cookie", cookie)]))


@pytest.mark.parametrize("name", ["cookie", "authorization", "host", "origin", "content-type", "if-match"])
def test_a_header_that_decides_something_may_not_come_twice(name: str) -> None:
    with pytest.raises(RepeatedHeader):
        request(headers=[(name, "a"), (name, "b")])


def test_a_key_and_a_session_of_the_same_value_are_remembered_apart() -> None:
    key = credential_of(request(headers=[("authorization", "Bearer same")]))
    session = credential_of(request(headers=[("cookie", "__Host-session=same")]))

    assert key is not None
    assert session is not None
    assert key.digest() != session.digest()
