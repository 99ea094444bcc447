"""Which replica is called directly, and on which subject."""

import pytest

from shared.bus.direct import direct_subject, directly_to, replica_in


def test_a_replica_hears_each_call_of_its_service_below_its_name() -> None:
    subject = direct_subject("orchestrator.dispatch.run", "orchestrator-2")

    assert subject == "peanut.direct.orchestrator.orchestrator-2.dispatch.run"
    assert subject.startswith(directly_to("orchestrator", "orchestrator-2"))


def test_a_replica_says_its_name_among_other_things() -> None:
    answer = b'{"type":"io.nats.micro.v1.ping_response","id":"auth-1","name":"auth","version":"1","metadata":{}}'

    assert replica_in(answer, "auth") == "auth-1"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"id":"audit-1","name":"audit"}',
        *(
            b'{"name":"auth","id":%s}' % id
            for id in (b"1", b'""', b'"a.b"', b'"*"', b'">"', b'"a b"', b'"A"', b'"a\\n"')
        ),
    ],
)
def test_what_could_lead_a_call_elsewhere_names_no_replica(answer: bytes) -> None:
    assert replica_in(answer, "auth") is None
