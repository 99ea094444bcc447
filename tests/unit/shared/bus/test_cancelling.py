"""Which call a message to cancel one can name."""

import pytest

from shared.bus.cancelling import cancel_subject, cancelled_reply


def test_a_caller_names_its_own_calls() -> None:
    assert (
        cancelled_reply(cancel_subject("orchestrator", "edge"), b"auth.edge-1-ab.7") == "_INBOX_edge.auth.edge-1-ab.7"
    )


@pytest.mark.parametrize("body", [b"", b"_INBOX_edge.auth.edge-1-ab.7", b"../_INBOX_edge.x", b"\xff\x00", b"x" * 9999])
def test_whatever_it_says_it_names_no_others(body: bytes) -> None:
    assert cancelled_reply(cancel_subject("orchestrator", "auth"), body).startswith("_INBOX_auth.")
