"""Erasures: entries that say of which earlier entries the personal values were deleted."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import orjson

from audit.domain.entry import Row
from audit.domain.personal import PERSONAL_FIELDS

ERASED = "audit.personal_erased"
"""The action of an erasure's entry."""
SOURCE = "audit"

Ranges = Sequence[Sequence[int]]
"""Ascending ranges of indexes, `[first, last]`, inclusive."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure's entry says."""

    index: int
    ranges: Ranges
    fields: frozenset[str]

    def has_erased(self, row: Row, gone: Iterable[str]) -> bool:
        """Whether an earlier entry may lack the values of these fields; then it has none of the others that were taken.

        The row is one that `lacking` has looked at.
        """
        place = bisect_right(self.ranges, row.index, key=lambda range: range[0]) - 1
        is_named = place >= 0 and row.index <= self.ranges[place][1] and row.index < self.index
        return is_named and self.fields.issuperset(gone) and self.fields.isdisjoint(orjson.loads(row.personal))

    @property
    def entries(self) -> int:
        """Of how many entries it has taken the values."""
        return sum(last - first + 1 for first, last in self.ranges)


def details_of(indexes: Iterable[int]) -> dict[str, Any]:
    """The details of the entry that erases these entries' values, given in order."""
    ranges: list[list[int]] = []
    for index in indexes:
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return {"erased": ranges, "fields": list(PERSONAL_FIELDS)}


def erasure_in(row: Row) -> Erasure | None:
    """The erasure that an entry is; None for every other entry. Whether it is what was written is another question."""
    try:
        body = orjson.loads(row.body)
        ranges, fields = body["details"]["erased"], body["details"]["fields"]
    except (ValueError, TypeError, KeyError):
        return None
    if body.get("action") != ERASED or body.get("source") != SOURCE or not _are_ranges(ranges):
        return None
    if not isinstance(fields, list) or any(field not in PERSONAL_FIELDS for field in fields):
        return None
    return Erasure(row.index, ranges, frozenset(fields))


def _are_ranges(value: object) -> TypeGuard[Ranges]:
    if not isinstance(value, list):
        return False
    before = -1
    for range in value:
        if not isinstance(range, list) or [type(place) for place in range] != [int, int]:
            return False
        first, last = range
        if not before < first <= last:
            return False
        before = last
    return True
