"""The choice among agents that could all answer: smooth weighted round-robin."""

from collections.abc import Sequence
from operator import add
from typing import Generic, TypeVar

T = TypeVar("T")


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

    def follow(self, members: Sequence[T], keys: Sequence[str], weights: Sequence[int]) -> None:
        """Goes on among these members; `keys` say who they are. Those who stay keep their place in the order."""
        before = dict(zip(self._keys, self._current, strict=True))
        self.members, self._keys, self._weights = members, tuple(keys), list(weights)
        self._current = [before.get(key, 0) for key in self._keys]
        self._total = sum(weights)

    def pick(self) -> T:
        """The next member. There must be one."""
        current = list(map(add, self._current, self._weights))
        place = current.index(max(current))  # the first among equals, as nginx does
        current[place] -= self._total
        self._current = current
        return self.members[place]
