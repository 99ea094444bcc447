"""Token budgets: what is free, and when a call fits that does not fit now."""

from datetime import UTC, date, datetime, timedelta

import pytest

from orchestrator.domain.budget import Account, Hold, bytes_of, fits_at, free, likely_tokens

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
MIDNIGHT = Account("k-1", date(2026, 11, 22)).ends


def hold(tokens: int, seconds: float) -> Hold:
    return Hold(tokens, NOW + timedelta(seconds=seconds))


def test_what_is_used_and_held_is_not_free_and_what_has_expired_is() -> None:
    assert free(100, 30, [hold(20, 5), hold(40, 0), hold(10, -5)], now=NOW) == 50


def test_nothing_is_free_of_a_budget_that_was_passed() -> None:
    assert free(100, 130, [hold(20, 5)], now=NOW) == 0


@pytest.mark.parametrize(
    ("tokens", "seconds"),
    [(30, 5), (31, 60), (70, 60), (71, None), (1000, None)],
)
def test_a_call_fits_when_enough_holds_have_ended_or_at_midnight(tokens: int, seconds: int | None) -> None:
    fits = fits_at(tokens, 100, 30, [hold(40, 60), hold(20, 5)], now=NOW, latest=MIDNIGHT)

    assert fits == (MIDNIGHT if seconds is None else NOW + timedelta(seconds=seconds))


def test_no_hold_is_waited_for_beyond_midnight() -> None:
    assert fits_at(1, 100, 0, [hold(100, 10**6)], now=NOW, latest=MIDNIGHT) == MIDNIGHT


def test_a_budgets_day_ends_at_midnight_of_utc() -> None:
    assert MIDNIGHT.isoformat() == "2026-11-23T00:00:00+00:00"


def test_bytes_are_counted_not_characters() -> None:
    assert (bytes_of(["ä", "b"]), likely_tokens(["ääb"])) == (3, 2)
