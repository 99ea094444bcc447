"""Evidence for verification, from a snapshot that may be damaged."""

from collections.abc import Iterator, Sequence

from audit.application.ports import LogDamaged, Snapshot
from audit.domain.entry import Row


class Readable:
    """See Evidence: what cannot be read is not there."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def rows(self, first: int, last: int) -> Iterator[Row]:
        """See Evidence."""
        try:
            yield from self._snapshot.rows(first, last)
        except LogDamaged:
            return

    def fingerprints(self, indexes: Sequence[int]) -> dict[int, bytes]:
        """See Evidence."""
        try:
            return self._snapshot.fingerprints(indexes)
        except LogDamaged:
            return {}

    def tile(self, level: int, number: int) -> bytes | None:
        """See Evidence."""
        try:
            return self._snapshot.tile(level, number)
        except LogDamaged:
            return None

    def erasure_of(self, index: int) -> int | None:
        """See Evidence."""
        try:
            return self._snapshot.erasure_of(index)
        except LogDamaged:
            return None
