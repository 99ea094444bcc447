"""Verification: whether a stretch of the log is what was written, and what is remembered of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from audit.domain.chain import EMPTY, Head
from audit.domain.entry import Row, follows

SEGMENT = 16
"""Entries per remembered fingerprint: 2 MB of memory for 1,000,000 entries, and 16 hashed to vouch for any one."""

_WIDTH = len(EMPTY.fingerprint)


@dataclass(frozen=True, slots=True)
class Anchors:
    """The fingerprint of every 16th verified entry, and of the last one, `head`."""

    head: Head = EMPTY
    _fingerprints: bytearray = field(default_factory=bytearray)
    _first: int = 0

    def extended(self, heads: Sequence[Head]) -> "Anchors":
        """These and the entries verified after them. The older ones stay as they were; both share one memory."""
        for before, head in zip((self.head, *heads), heads, strict=False):
            if head.index != before.index + 1:
                raise ValueError("anchors are laid in order")
            if head.index % SEGMENT == SEGMENT - 1:
                self._fingerprints[head.index // SEGMENT * _WIDTH :] = head.fingerprint
        return Anchors(heads[-1], self._fingerprints) if heads else self

    def part(self, first: int, last: int) -> "Anchors":
        """Those of the entries from `first` to `last`, and the last of all: small enough to be sent elsewhere."""
        start, end = first // SEGMENT, last // SEGMENT + 1
        return Anchors(self.head, self._fingerprints[start * _WIDTH : end * _WIDTH], start)

    def contradict(self, head: Head) -> bool:
        """Whether something else is remembered of this place."""
        known = self._at(head.index)
        return known is not None and known != head.fingerprint

    def around(self, index: int) -> tuple[Head, Head]:
        """The remembered entries around a verified one: the last before it, and the first that is not before it."""
        if not 0 <= index <= self.head.index:
            raise ValueError("nothing is remembered of that entry")
        start = index // SEGMENT * SEGMENT - 1
        end = min(start + SEGMENT, self.head.index)
        return Head(start, self._at(start) or EMPTY.fingerprint), Head(end, self._at(end) or b"")

    def _at(self, index: int) -> bytes | None:
        if index == self.head.index:
            return self.head.fingerprint
        if not 0 <= index < self.head.index or index % SEGMENT != SEGMENT - 1:
            return None
        place = (index // SEGMENT - self._first) * _WIDTH
        return bytes(self._fingerprints[place : place + _WIDTH]) or None if place >= 0 else None


class Verification:
    """One walk over the entries after `start`, in order.

    `anchors` and `seen` must be met again on the way; `seen` is the last entry that is known to have been committed.
    """

    def __init__(self, start: Head, anchors: Anchors, seen: Head) -> None:
        self.head = start
        self.first_bad: int | None = None
        self._anchors = anchors
        self._seen = seen

    def walk(self, rows: Iterable[Row]) -> list[Head]:
        """Goes on over rows until one is bad; returns the sound ones."""
        sound: list[Head] = []
        for row in rows:
            if not follows(row, self.head) or self._is_another(row.head):
                self.stop()
                break
            self.head = row.head
            sound.append(self.head)
        return sound

    def stop(self) -> None:
        """What comes next is bad, or cannot even be read."""
        self.first_bad = self.head.index + 1

    def end(self) -> None:
        """Nothing comes next: a log that ends before what is known to have been in it has lost something."""
        if self.first_bad is None and self.head.index < max(self._seen.index, self._anchors.head.index):
            self.stop()

    def _is_another(self, head: Head) -> bool:
        if head.index == self._seen.index and head.fingerprint != self._seen.fingerprint:
            return True
        return self._anchors.contradict(head)
