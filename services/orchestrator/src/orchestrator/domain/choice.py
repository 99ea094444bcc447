"""The choice among agents that could all answer: smooth weighted round-robin."""

from collections.abc import Callable, Sequence
from math import gcd
from operator import add
from typing import Generic, TypeVar

T = TypeVar("T")

PARTS = 10
"""Weights count in tenths inside, so that one can grow in steps; the order is that of the whole ones."""
LONGEST_ROUND = 16_384
"""Rounds of more picks are not remembered."""


class Rotation(Generic[T]):
    """nginx's smooth weighted round-robin (ngx_http_upstream_get_peer, by Yichun Zhang).

    Over as many picks as the weights' sum each member is picked exactly as often as it weighs, spread out evenly. The
    weights' greatest common divisor does not matter: 10/10 alternates as 1/1 does.

    A pick looks at every member, which takes 50 µs for 1,000 of them. So a round, after which all is as it was, is
    remembered while it is gone through, and from then on repeated.
    """

    def __init__(self) -> None:
        self.members: Sequence[T] = ()
        self._keys: tuple[str, ...] = ()
        self._weights: list[int] = []
        self._current: list[int] = []
        """As it is after all of `_round`."""
        self._total = 0
        self._began: list[int] = []
        """As it was before `_round`."""
        self._round: list[int] = []
        """The places of the picks since then, at most a whole round."""
        self._length = 0
        self._repeated = 0
        """How many of them have come once more."""

    def follow(
        self, members: Sequence[T], keys: Sequence[str], weights: Sequence[int], parts: Sequence[int] | None = None
    ) -> None:
        """Goes on among these members; `keys` say who they are, `parts` how many tenths of each weight count.

        Those who stay keep their place in the order, as a share of a round: a debt of other members or other weights
        would be paid in picks that follow each other.
        """
        counted = [w * p for w, p in zip(weights, parts or [PARTS] * len(weights), strict=True)]
        self.members = members
        if tuple(keys) == self._keys and counted == self._weights:
            return
        self._forget_round()
        before = dict(zip(self._keys, self._current, strict=True))
        old_total, self._total = self._total, sum(counted)
        self._keys, self._weights = tuple(keys), counted
        self._current = _carried_over(before, self._keys, old_total, self._total)
        self._length = self._total // gcd(*counted) if counted else 0

    def pick(self) -> T:
        """The next member. There must be one."""
        if len(self._round) == self._length:
            place = self._round[self._repeated]
            self._repeated = (self._repeated + 1) % self._length
            return self.members[place]
        if not self._round:
            self._began = self._current
        current = list(map(add, self._current, self._weights))
        place = current.index(max(current))  # the first among equals, as nginx does
        current[place] -= self._total
        self._current = current
        if self._length <= LONGEST_ROUND:
            self._round.append(place)
            if len(self._round) == self._length and current != self._began:
                self._round = []  # what others have left behind was only made up for
        return self.members[place]

    def pick_among(self, may: Callable[[T], bool]) -> T | None:
        """The next of the members that may be picked; the others stay where they are, as nginx's that are full."""
        places = [place for place, member in enumerate(self.members) if may(member)]
        if not places:
            return None
        self._forget_round()
        current, weights = self._current, self._weights
        for place in places:
            current[place] += weights[place]
        chosen = max(places, key=current.__getitem__)  # the first among equals here too
        current[chosen] -= sum(weights[place] for place in places)
        return self.members[chosen]

    def _forget_round(self) -> None:
        if self._repeated:
            current = [
                value + self._repeated * weight for value, weight in zip(self._began, self._weights, strict=True)
            ]
            for place in self._round[: self._repeated]:
                current[place] -= self._total
            self._current = current
        self._round, self._repeated = [], 0


def _carried_over(before: dict[str, int], keys: Sequence[str], old_total: int, total: int) -> list[int]:
    stayed = [key for key in keys if key in before]
    if not stayed:
        return [0] * len(keys)
    middle = sum(before[key] for key in stayed) / len(stayed)  # who leaves takes its debt along
    return [round((before[key] - middle) * total / old_total) if key in before else 0 for key in keys]
