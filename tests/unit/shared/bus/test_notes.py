"""Notes in headers: taken, told, heard."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.notes import LimitState, forget_notes, hear_notes, note_agent, note_limit, note_replayed, noted_headers


@pytest.fixture(autouse=True)
def _nothing_noted() -> Iterator[None]:
    forget_notes()
    yield
    forget_notes()


def test_without_limits_there_is_nothing_to_say() -> None:
    assert noted_headers() is None


def test_each_limit_is_told_as_it_stood_last() -> None:
    note_limit(LimitState("login", 10, 60, 7, 42))
    note_limit(LimitState("password", 10, 600, 9, 600))
    note_limit(LimitState("login", 10, 60, 0, 60))

    assert noted_headers() == {
        "RateLimit-Policy": '"login";q=10;w=60, "password";q=10;w=600',
        "RateLimit": '"login";r=0;t=60, "password";r=9;t=600',
    }


def test_what_is_heard_is_told_on_beside_what_is_ones_own() -> None:
    note_limit(LimitState("dispatch", 60, 60, 59, 60))

    hear_notes({"RateLimit-Policy": '"kilo";q=30;w=60', "RateLimit": '"kilo";r=2;t=5'})

    assert noted_headers() == {
        "RateLimit-Policy": '"dispatch";q=60;w=60, "kilo";q=30;w=60',
        "RateLimit": '"dispatch";r=59;t=60, "kilo";r=2;t=5',
    }


@pytest.mark.parametrize(
    ("policies", "states"),
    [
        ("", '"kilo";r=2;t=5'),
        ('"kilo";q=30;w=60', ""),
        ('"kilo";q=30;w=60', '"other";r=2;t=5'),
        ('"kilo";q=30;w=60', '"kilo";r=-2;t=5'),
        ('"kilo";q=30;w=60', '"kilo";r=2;t=5\nx: y'),
    ],
)
def test_what_is_not_understood_is_not_told_on(policies: str, states: str) -> None:
    hear_notes({"RateLimit-Policy": policies, "RateLimit": states})

    assert noted_headers() is None


def test_the_agent_that_answered_is_told_beside_the_limits_and_on() -> None:
    note_agent("01a20304-490e-7141-9251-cff2e71a6900")
    alone = noted_headers()
    note_limit(LimitState("dispatch", 60, 60, 59, 60))
    hear_notes({"Peanut-Agent": "01a20304-490e-7141-9251-cff2e71a6901"})
    hear_notes({"Peanut-Agent": "no id"})

    assert alone == {"Peanut-Agent": "01a20304-490e-7141-9251-cff2e71a6900"}
    assert noted_headers() == {
        "RateLimit-Policy": '"dispatch";q=60;w=60',
        "RateLimit": '"dispatch";r=59;t=60',
        "Peanut-Agent": "01a20304-490e-7141-9251-cff2e71a6901",
    }


def test_an_answer_told_again_says_so_beside_everything_else_and_on() -> None:
    note_replayed()
    alone = noted_headers()
    note_limit(LimitState("dispatch", 60, 60, 59, 60))
    note_agent("01a20304-490e-7141-9251-cff2e71a6900")
    told = dict(noted_headers() or {})
    forget_notes()
    hear_notes(told)

    assert alone == {"Idempotency-Replayed": "true"}
    assert set(told) == {"Idempotency-Replayed", "Peanut-Agent", "RateLimit", "RateLimit-Policy"}
    assert noted_headers() == told


@given(st.text(), st.text(), st.text())
def test_no_header_ends_its_line_whatever_is_heard(policies: str, states: str, agent: str) -> None:
    hear_notes({"RateLimit-Policy": policies, "RateLimit": states, "Peanut-Agent": agent})

    assert "\n" not in str((noted_headers() or {}).values())
