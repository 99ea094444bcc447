"""Smooth weighted round-robin, against nginx's own order."""

import re
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

    assert picks(chosen, 4) == "baba"


@given(st.lists(st.integers(1, 100), min_size=2, max_size=6), st.integers(0, 3), st.data())
def test_shares_stay_exact_while_some_may_not_be_picked(weights: list[int], rounds: int, data: st.DataObject) -> None:
    chosen, names = rotation(*weights), [chr(ord("a") + place) for place in range(len(weights))]
    of_all = dict(zip(names, weights, strict=True))
    picks(chosen, rounds * sum(weights))
    out = data.draw(st.sets(st.sampled_from(names), max_size=len(names) - 1))
    of_others = {name: weight for name, weight in of_all.items() if name not in out}

    shares = Counter(chosen.pick_among(lambda name: name not in out) for _ in range(sum(of_others.values())))

    assert shares == of_others
    assert Counter(picks(chosen, sum(weights))) == of_all


def test_nobody_is_picked_when_nobody_may_be() -> None:
    chosen = rotation(1, 2)

    assert chosen.pick_among(lambda _: False) is None
    assert picks(chosen, 3) == "bab"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 100), st.integers(0, 40)), min_size=1, max_size=12))
def test_no_change_of_members_or_weights_makes_a_burst(story: list[tuple[int, int, int]]) -> None:
    """Nobody is picked more often in a row than it would be by its weight, but for two picks."""
    chosen = rotation(1, 1)
    for count, weight, between in story:
        names = ["a", "b", *"cdef"[:count]]
        weights = [weight, weight, *([1] * count)]
        chosen.follow(names, names, weights)
        total = sum(weights)

        told = picks(chosen, between + 20)

        for name, own in zip(names, weights, strict=True):
            longest = max(len(run) for run in re.findall(f"{name}*", told))
            assert longest <= own / (total - own) + 3


def test_parts_of_a_weight_count_in_tenths() -> None:
    chosen: Rotation[str] = Rotation()
    chosen.follow("ab", "ab", [3, 3], [10, 1])

    shares = Counter(picks(chosen, 33))

    assert shares == {"a": 30, "b": 3}


def test_the_full_weight_is_reached_without_a_jump() -> None:
    chosen: Rotation[str] = Rotation()
    told = ""
    for part in range(1, 11):
        chosen.follow("ab", "ab", [1, 1], [10, part])
        told += picks(chosen, 11)
    told += picks(chosen, 10)

    assert "bb" not in told
    assert told.endswith(("ababababab", "bababababa"))


def test_following_the_same_changes_nothing() -> None:
    chosen, untouched = rotation(5, 1, 1), rotation(5, 1, 1)
    told = ""
    for _ in range(14):
        chosen.follow("abc", "abc", [5, 1, 1])
        told += chosen.pick()

    assert told == picks(untouched, 14)


class Plain:
    """nginx's algorithm as it stands there, without anything remembered."""

    def __init__(self, weights: list[int]) -> None:
        self.weights = weights
        self.current = [0] * len(weights)

    def pick(self, may: set[int]) -> str:
        for place in may:
            self.current[place] += self.weights[place]
        chosen = max(sorted(may), key=lambda place: self.current[place])
        self.current[chosen] -= sum(self.weights[place] for place in may)
        return chr(ord("a") + chosen)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_rounds_that_are_repeated_are_those_that_nginx_goes_through(weights: list[int], data: st.DataObject) -> None:
    chosen, plain = rotation(*weights), Plain(weights)
    everybody = set(range(len(weights)))

    for _ in range(data.draw(st.integers(1, 4))):
        count = data.draw(st.integers(0, 3 * sum(weights)))
        assert picks(chosen, count) == "".join(plain.pick(everybody) for _ in range(count))
        some = data.draw(st.sets(st.sampled_from(sorted(everybody)), min_size=1))
        assert chosen.pick_among({chr(ord("a") + place) for place in some}.__contains__) == plain.pick(some)


def test_who_joins_in_the_middle_of_a_repeated_round_finds_it_where_it_is() -> None:
    repeating, new = rotation(5, 3, 2), rotation(5, 3, 2)
    picks(repeating, 14)
    picks(new, 4)

    for chosen in (repeating, new):
        chosen.follow("abcd", "abcd", [5, 3, 2, 4])

    assert picks(repeating, 28) == picks(new, 28)
