"""When a request is the same one again."""

from itertools import combinations

from orchestrator.domain.idempotency import KeyedRequest
from shared.principal import Principal, PrincipalKind, Role


def principal(user: str = "u-1", credential: str = "c-1") -> Principal:
    return Principal(
        kind=PrincipalKind.KEY, user_id=user, email="ada@example.org", role=Role.OPERATOR, credential_id=credential
    )


def test_a_request_is_the_same_with_the_same_principal_key_subject_and_body_alone() -> None:
    first = KeyedRequest.of(principal(), "k", "s", b"b")

    again = KeyedRequest.of(principal(), "k", "s", b"b")
    others = [
        KeyedRequest.of(principal(user="u-2"), "k", "s", b"b"),
        KeyedRequest.of(principal(credential="c-2"), "k", "s", b"b"),
        KeyedRequest.of(principal(), "K", "s", b"b"),
        KeyedRequest.of(principal(), "k", "sb", b""),
        KeyedRequest.of(principal(), "k", "s", b"b "),
    ]

    assert first == again
    assert all(one != other for one, other in combinations([first, *others], 2))
    assert "k" not in (first.key_hash, first.fingerprint)
