"""Smooth weighted round-robin, against nginx's own order."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.choice import Rotation


def rotation(*weights: int) -> Rotation[str]:
    names = [chr(ord("a") + place) for place in range(len(weights))]
    rotation: Rotation[str] = Rotation()
    rotation.follow(names, names, weights)
    return rotation


def picks(rotation: Rotation[str], count: int) -> str:
    return "".join(rotation.pick() for _ in range(count))


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ((5, 3, 2), "abcaabacba"),
        ((5, 1, 1), "aabacaa"),
        ((1, 1, 1), "abc"),
        ((4, 2, 1), "abacaba"),
        ((10, 10), "abababababababababab"),
        ((7,), "aaaaaaa"),
        ((1, 100), "b" * 50 + "a" + "b" * 50),
    ],
)
def test_picks_come_in_nginx_order_and_repeat(weights: tuple[int, ...], order: str) -> None:
    chosen = rotation(*weights)

    assert picks(chosen, len(order)) == order
    assert picks(chosen, len(order)) == order


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.integers(0, 500))
def test_shares_are_exact_over_any_run_as_long_as_the_weights_sum(weights: list[int], skipped: int) -> None:
    chosen = rotation(*weights)
    picks(chosen, skipped)

    shares = Counter(picks(chosen, sum(weights)))

    assert [shares[chr(ord("a") + place)] for place in range(len(weights))] == weights


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6), st.data())
def test_shares_are_never_off_by_more_than_one_round_of_the_others(weights: list[int], data: st.DataObject) -> None:
    chosen, total = rotation(*weights), sum(weights)
    count = data.draw(st.integers(1, total))

    shares = Counter(picks(chosen, count))

    for place, weight in enumerate(weights):
        assert abs(shares[chr(ord("a") + place)] - count * weight / total) < len(weights)


def test_who_has_just_been_picked_waits_though_others_leave() -> None:
    chosen = rotation(1, 1, 1)
    picks(chosen, 1)

    chosen.follow(["a", "b"], ["a", "b"], [1, 1])

    assert picks(chosen, 4) == "bbab"
