"""Histograms and sums of attempts, and the steps that windows are told in."""

import math
from bisect import bisect_right
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.metrics import (
    LONGEST_MS,
    OUTCOMES,
    SHORTEST_MS,
    WINDOWS,
    Attempted,
    Histogram,
    Sums,
    added_up,
)
from orchestrator.interface.metrics import BOUNDS_S

MOST_OFF = 1 / 32
latencies = st.lists(st.floats(min_value=SHORTEST_MS, max_value=LONGEST_MS), min_size=1, max_size=200)
percents = st.integers(min_value=1, max_value=100)


def histogram(values: list[float]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


def exact(values: list[float], percent: int) -> float:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


@given(latencies, percents)
def test_a_percentile_is_off_by_a_thirty_second_at_most(values: list[float], percent: int) -> None:
    told = histogram(values).percentile(percent)

    assert told == pytest.approx(exact(values, percent), rel=MOST_OFF)


@given(latencies, latencies)
def test_histograms_that_are_merged_are_the_one_of_all_values(some: list[float], others: list[float]) -> None:
    merged = histogram(some)
    merged.merge(histogram(others).counts.items())

    assert merged.counts == histogram(some + others).counts
    assert merged.total == len(some) + len(others)


@given(st.floats(allow_nan=False))
def test_whatever_was_measured_has_a_bucket(value: float) -> None:
    told = histogram([value]).percentile(50)

    assert told == pytest.approx(min(max(value, SHORTEST_MS), LONGEST_MS), rel=MOST_OFF)


@given(latencies, st.lists(st.sampled_from(BOUNDS_S)))
def test_what_prometheus_counts_up_to_its_bounds_is_exact(values: list[float], at_bounds: list[float]) -> None:
    bounds_ms = [bound * 1000 for bound in BOUNDS_S]
    all_values = values + [bound * 1000 for bound in at_bounds]

    assert histogram(all_values).up_to(bounds_ms) == [bisect_right(sorted(all_values), bound) for bound in bounds_ms]


def test_a_histogram_of_nothing_has_no_percentiles() -> None:
    assert Histogram().percentile(50) is None


def test_sums_tell_answers_errors_and_the_rest_apart() -> None:
    sums = Sums()
    for outcome in OUTCOMES:
        sums.add(Attempted(outcome, 100.0, 20.0 if outcome == "success" else None, 3, 4))

    assert sums.outcomes == dict.fromkeys(OUTCOMES, 1)
    assert (sums.request_count, sums.success_count, sums.error_count, sums.success_rate) == (5, 1, 2, 0.3333)
    assert (sums.prompt_tokens, sums.completion_tokens, sums.latency_ms) == (15, 20, 100.0)
    assert (sums.latency.total, sums.first_token.total) == (1, 1)


def test_refusals_and_cancelled_attempts_make_no_rate() -> None:
    sums = Sums()
    sums.add(Attempted("refused", 1.0))
    sums.add(Attempted("cancelled", 1.0))

    assert (sums.request_count, sums.success_rate) == (2, None)


attempts = st.builds(
    Attempted, st.sampled_from(OUTCOMES), st.integers(1, 9000), st.none() | st.integers(1, 9000), st.integers(0, 99)
)


@given(st.lists(attempts, max_size=30), st.lists(attempts, max_size=30))
def test_sums_that_are_merged_are_the_sums_of_all(some: list[Attempted], others: list[Attempted]) -> None:
    parts = (Sums(), Sums())
    together = Sums()
    for part, attempts in zip(parts, (some, others), strict=True):
        for attempted in attempts:
            part.add(attempted)
            together.add(attempted)

    assert _values(added_up(parts)) == _values(together)


def _values(sums: Sums) -> tuple[object, ...]:
    counts = (sums.latency.counts, sums.first_token.counts)
    return sums.outcomes, sums.prompt_tokens, sums.completion_tokens, sums.latency_ms, *counts


@pytest.mark.parametrize("name", WINDOWS)
@given(minute=st.integers(min_value=30_000_000, max_value=40_000_000))
def test_a_window_has_equal_steps_that_begin_where_clocks_show_round_times(name: str, minute: int) -> None:
    window = WINDOWS[name]

    steps = window.steps(minute)

    assert len(steps) * window.step == window.length
    assert steps.stop - window.step <= minute < steps.stop
    assert steps.start % window.step == 0
    assert (24 * 60) % window.step == 0


@pytest.mark.parametrize(
    ("name", "now", "first", "last"),
    [
        ("15m", "2026-11-22T00:00:00", "2026-11-21T23:46:00", "2026-11-22T00:00:00"),
        ("15m", "2026-11-22T00:59:59", "2026-11-22T00:45:00", "2026-11-22T00:59:00"),
        ("1h", "2026-11-22T10:30:00", "2026-11-22T09:31:00", "2026-11-22T10:30:00"),
        ("6h", "2026-11-22T00:04:59", "2026-11-21T18:05:00", "2026-11-22T00:00:00"),
        ("24h", "2026-11-22T00:00:00", "2026-11-21T00:15:00", "2026-11-22T00:00:00"),
        ("7d", "2026-11-22T01:59:59", "2026-11-15T02:00:00", "2026-11-22T00:00:00"),
        ("30d", "2026-11-30T23:59:59", "2026-11-01T00:00:00", "2026-11-30T18:00:00"),
    ],
)
def test_steps_at_the_edges_of_minutes_hours_and_days(name: str, now: str, first: str, last: str) -> None:
    steps = WINDOWS[name].steps(_minute(now))

    assert (steps[0], steps[-1]) == (_minute(first), _minute(last))


def _minute(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) // 60
