"""Memories that are bounded: what was remembered last is forgotten last."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

MAX_REMEMBERED = 1024


def remember(remembered: dict[K, V], key: K, value: V) -> None:
    """Notes the value; the oldest goes where there are more than MAX_REMEMBERED."""
    remembered.pop(key, None)
    remembered[key] = value
    if len(remembered) > MAX_REMEMBERED:
        del remembered[next(iter(remembered))]
