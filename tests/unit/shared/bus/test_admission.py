"""How many calls of each kind run side by side, in all and of one credential."""

import pytest

from shared.bus import CallContext, Kind, call_context
from shared.bus.admission import MAX_DISPATCHES_OF_ONE, MAX_RUNNING, MAX_STREAMS, MAX_STREAMS_OF_ONE, Admission
from shared.errors import Overloaded
from shared.principal import Caller, Principal, PrincipalKind, Role


def somebody(credential: str) -> CallContext:
    principal = Principal(
        kind=PrincipalKind.KEY, user_id="u", email="a@peanut.local", role=Role.VIEWER, credential_id=credential
    )
    return call_context(seconds=60, caller=Caller(principal=principal))


@pytest.fixture
def admission() -> Admission:
    return Admission("orchestrator")


@pytest.mark.asvs("2.4.1")
@pytest.mark.parametrize(
    ("kind", "of_one", "words"),
    [
        (Kind.DISPATCH, MAX_DISPATCHES_OF_ONE, "128 of your dispatches"),
        (Kind.STREAM, MAX_STREAMS_OF_ONE, "512 of your streams"),
    ],
)
def test_one_credential_has_a_quarter_and_others_find_room(
    admission: Admission, kind: Kind, of_one: int, words: str
) -> None:
    for _ in range(of_one):
        admission.enter(kind, somebody("greedy"))

    with pytest.raises(Overloaded, match=words):
        admission.enter(kind, somebody("greedy"))
    admission.enter(kind, somebody("another"))
    admission.leave(kind, somebody("greedy"))
    admission.enter(kind, somebody("greedy"))


@pytest.mark.asvs("2.4.1")
@pytest.mark.parametrize(
    ("kind", "in_all"),
    [(Kind.READ, MAX_RUNNING), (Kind.CHANGE, MAX_RUNNING), (Kind.DISPATCH, MAX_RUNNING), (Kind.STREAM, MAX_STREAMS)],
)
def test_a_kind_that_is_full_leaves_room_for_the_others(admission: Admission, kind: Kind, in_all: int) -> None:
    for number in range(in_all):
        admission.enter(kind, somebody(f"c{number % 10}" if kind is Kind.DISPATCH else f"c{number % 5}"))

    with pytest.raises(Overloaded, match="too much to do"):
        admission.enter(kind, somebody("another"))
    for other in Kind:
        if other is not kind:
            admission.enter(other, somebody("another"))
    admission.leave(kind, somebody("c0"))
    admission.enter(kind, somebody("another"))
