"""The choice among agents that could all answer: smooth weighted round-robin."""

from collections.abc import Callable, Sequence
from operator import add
from typing import Generic, TypeVar

T = TypeVar("T")

PARTS = 10
"""Weights count in tenths inside, so that one can grow in steps; the order is that of the whole ones."""


class Rotation(Generic[T]):
    """nginx's smooth weighted round-robin (ngx_http_upstream_get_peer, by Yichun Zhang).

    Over as many picks as the weights' sum each member is picked exactly as often as it weighs, spread out evenly. The
    weights' greatest common divisor does not matter: 10/10 alternates as 1/1 does.
    """

    def __init__(self) -> None:
        self.members: Sequence[T] = ()
        self._keys: tuple[str, ...] = ()
        self._weights: list[int] = []
        self._current: list[int] = []
        self._total = 0

    def follow(
        self, members: Sequence[T], keys: Sequence[str], weights: Sequence[int], parts: Sequence[int] | None = None
    ) -> None:
        """Goes on among these members; `keys` say who they are, `parts` how many tenths of each weight count.

        Those who stay keep their place in the order, as a share of a round: a debt of other members or other weights
        would be paid in picks that follow each other.
        """
        before = dict(zip(self._keys, self._current, strict=True))
        counted = [w * p for w, p in zip(weights, parts or [PARTS] * len(weights), strict=True)]
        is_same = tuple(keys) == self._keys and counted == self._weights
        old_total, self._total = self._total, sum(counted)
        self.members, self._keys, self._weights = members, tuple(keys), counted
        if not is_same:
            self._current = _carried_over(before, self._keys, old_total, self._total)

    def pick(self) -> T:
        """The next member. There must be one."""
        current = list(map(add, self._current, self._weights))
        place = current.index(max(current))  # the first among equals, as nginx does
        current[place] -= self._total
        self._current = current
        return self.members[place]

    def pick_among(self, may: Callable[[T], bool]) -> T | None:
        """The next of the members that may be picked; the others stay where they are, as nginx's that are full."""
        places = [place for place, member in enumerate(self.members) if may(member)]
        if not places:
            return None
        current, weights = self._current, self._weights
        for place in places:
            current[place] += weights[place]
        chosen = max(places, key=current.__getitem__)  # the first among equals here too
        current[chosen] -= sum(weights[place] for place in places)
        return self.members[chosen]


def _carried_over(before: dict[str, int], keys: Sequence[str], old_total: int, total: int) -> list[int]:
    stayed = [key for key in keys if key in before]
    if not stayed:
        return [0] * len(keys)
    middle = sum(before[key] for key in stayed) / len(stayed)  # who leaves takes its debt along
    return [round((before[key] - middle) * total / old_total) if key in before else 0 for key in keys]
