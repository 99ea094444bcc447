"""Verification: whether a stretch of the log is what was written, and what is remembered of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Protocol

from audit.domain.chain import EMPTY, Head
from audit.domain.entry import Row, follows, lacking
from audit.domain.erasure import ERASED, Erasure, erasure_in
from audit.domain.personal import NO_VALUES
from audit.domain.tree import cut
from shared.tlog.merkle import HASH_BYTES, Frontier, leaf_hash, root_of
from shared.tlog.tiles import TILE_HEIGHT, TILE_WIDTH

_NO_TREE = Frontier()


@dataclass(frozen=True, slots=True)
class Reliance:
    """Entries without values that rely on an erasure whose entry has not been met yet.

    `first` is the first of them, `entries` how many there are, `body` the SHA-256 of the erasure as it was read.
    """

    first: int
    entries: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first entries of a log, verified: all that the verification of those after them depends on.

    `tiles` is the tree over the roots of the full tiles of leaves, `leaves` are those after them. `relied` is by the
    index of the erasure. Of erasures up to `counted` it is known that they were there before the first entry was read.
    The root of the first `proved` entries is one that had to be met.
    """

    head: Head = EMPTY
    tiles: Frontier = _NO_TREE
    leaves: tuple[bytes, ...] = ()
    relied: Mapping[int, Reliance] = field(default_factory=dict)
    counted: int = -1
    proved: int = 0

    @property
    def size(self) -> int:
        """How many entries there are."""
        return self.head.index + 1

    @property
    def tree(self) -> Frontier:
        """The tree over these entries."""
        return Frontier(self.tiles.size * TILE_WIDTH, self.tiles.hashes).appended(self.leaves)


NOTHING = Prefix()


@dataclass(frozen=True, slots=True)
class Marks:
    """What must be met again on the way: the last entry known to have been committed, and roots of the tree by size."""

    seen: Head = EMPTY
    roots: Mapping[int, bytes] = field(default_factory=dict)


class Evidence(Protocol):
    """What is looked up beside the entries. None of it is believed before something verified confirms it."""

    def rows(self, first: int, last: int) -> Iterator[Row]:
        """The entries from `first` to `last` in order, both included."""

    def fingerprints(self, indexes: Sequence[int]) -> dict[int, bytes]:
        """The stored fingerprints of these entries."""

    def tile(self, level: int, number: int) -> bytes | None:
        """The stored hashes of a tile of the tree."""

    def erasure_of(self, index: int) -> int | None:
        """The index of the entry that erased this one's values."""


class Verification:
    """One walk over the entries after `start`, in order, and over the tiles of the tree above them.

    Tiles are expected for the first `tiled` entries.
    """

    def __init__(self, start: Prefix, marks: Marks, evidence: Evidence, *, tiled: int = 0) -> None:
        self.head = start.head
        self.first_bad: int | None = None
        self.met: Prefix | None = None
        """The longest part whose root was met on this walk."""
        self._tiles = start.tiles
        self._leaves = list(start.leaves)
        self._relied = dict(start.relied)
        self._marks = marks
        self._evidence = evidence
        self._tiled = tiled
        self._erasures: dict[int, tuple[Erasure, bytes] | None] = {}
        self._counted = start.counted
        self._proved = start.proved

    @property
    def prefix(self) -> Prefix:
        """What has been verified."""
        return Prefix(self.head, self._tiles, tuple(self._leaves), dict(self._relied), self._counted, self._proved)

    def walk(self, rows: Iterable[Row]) -> None:
        """Goes on over rows until one is bad."""
        roots, seen = self._marks.roots, self._marks.seen
        for row in rows:
            if not (follows(row, self.head) or self._was_erased(row)):
                self.stop()
                return
            if row.action == ERASED and not self._has_erased(row):
                return
            self.head = row.head
            self._leaves.append(leaf_hash(row.fingerprint))
            if len(self._leaves) == TILE_WIDTH:
                self._fill_tile()
            if row.index == seen.index and row.fingerprint != seen.fingerprint:
                self.stop_at(self._proved)
            elif row.index + 1 in roots:
                self._meet(roots[row.index + 1])
            if self.first_bad is not None:
                return

    def stop(self) -> None:
        """What comes next is bad, or cannot even be read."""
        self.stop_at(self.head.index + 1)

    def stop_at(self, index: int) -> None:
        """The entry at `index` is bad, or an earlier one that relies on an erasure which is not sound in itself."""
        lost = (relied.first for place, relied in self._relied.items() if not self._is_sound(place))
        self.first_bad = min([index, *lost, *self._other_leaves()])

    def end(self) -> None:
        """Nothing comes next: a log that ends before what is known to have been in it has lost something."""
        if self.first_bad is not None:
            return
        if self.head.index < max([self._marks.seen.index, *(size - 1 for size in self._marks.roots)]):
            self.stop()
        elif self._relied:
            self.stop_at(self.head.index + 1)
        else:
            self._end_tiles()

    def _was_erased(self, row: Row) -> bool:
        """Whether what the row lacks was taken by an erasure, as far as can be said before that is met."""
        gone = lacking(row, self.head)
        if not gone:
            return False
        place = self._evidence.erasure_of(row.index)
        found = None if place is None else self._erasure_at(place)
        if place is None or found is None or not found[0].has_erased(row, gone):
            return False
        known = self._relied.get(place, Reliance(row.index, 0, found[1]))
        self._relied[place] = replace(known, entries=known.entries + 1)
        return known.body == found[1]

    def _erasure_at(self, place: int) -> tuple[Erasure, bytes] | None:
        if place not in self._erasures:
            row = next(iter(self._evidence.rows(place, place)), None)
            erasure = row and erasure_in(row)
            self._erasures[place] = (erasure, sha256(row.body).digest()) if row and erasure else None
        return self._erasures[place]

    def _has_erased(self, row: Row) -> bool:
        """Whether an erasure is the one that was relied on, and all values that it has taken are gone."""
        relied = self._relied.pop(row.index, None)
        erasure = erasure_in(row)
        if relied is not None and relied.body != sha256(row.body).digest():
            self.stop_at(relied.first)
        elif erasure and row.index <= self._counted and erasure.entries != (relied.entries if relied else 0):
            self.stop_at(self._restored_by(erasure))
        return self.first_bad is None

    def _restored_by(self, erasure: Erasure) -> int:
        """The first entry that has a value again."""
        indexes = (index for first, last in erasure.ranges for index in range(first, last + 1))
        rows = (row for index in indexes for row in self._evidence.rows(index, index))
        return next((row.index for row in rows if row.personal != NO_VALUES), erasure.index)

    def _meet(self, root: bytes) -> None:
        if self.prefix.tree.root != root:
            self.stop_at(self._proved)
            return
        self._proved = self.head.index + 1
        self.met = self.prefix

    def _other_leaves(self) -> Iterator[int]:
        """Where the unfinished tile is another: a link breaks only after the entry that was replaced."""
        number = self._tiles.size
        if (number + 1) * TILE_WIDTH <= self._tiled:
            stored = cut(self._evidence.tile(0, number) or b"")
            pairs = enumerate(zip(stored, self._leaves, strict=False), start=number * TILE_WIDTH)
            yield from (index for index, (one, other) in pairs if one != other)

    def _is_sound(self, place: int) -> bool:
        row = next(iter(self._evidence.rows(place, place)), None)
        previous = Head(place - 1, self._evidence.fingerprints([place - 1]).get(place - 1, b""))
        return row is not None and (follows(row, previous) or bool(lacking(row, previous)))

    def _fill_tile(self) -> None:
        number, leaves = self._tiles.size, self._leaves
        root = root_of(leaves)
        self._tiles = self._tiles.appended([root])
        self._leaves = []
        if (number + 1) * TILE_WIDTH > self._tiled:
            return
        stored = self._evidence.tile(0, number) or b""
        if stored != b"".join(leaves):
            self.stop_at(number * TILE_WIDTH + _first_difference(stored, leaves))
        else:
            self._confirm(0, number, root)

    def _confirm(self, level: int, number: int, root: bytes) -> None:
        """That the tile above holds this root, and, where it is full by now, the one above that its own."""
        above, place = divmod(number, TILE_WIDTH)
        tile = self._evidence.tile(level + 1, above) or b""
        hashes = cut(tile)
        if len(tile) % HASH_BYTES or place >= len(hashes) or hashes[place] != root:
            self.stop_at(number << TILE_HEIGHT * (level + 1))
        elif place == TILE_WIDTH - 1:
            self._confirm(level + 1, above, root_of(hashes))

    def _end_tiles(self) -> None:
        """That the tiles hold nothing after what they are expected to hold."""
        count, level = self._tiled >> TILE_HEIGHT, 1
        extra = self._evidence.tile(0, count)
        while extra is None and count:
            number, place = divmod(count, TILE_WIDTH)
            last = self._evidence.tile(level, number)
            extra = last[place * HASH_BYTES :] or None if last else None
            count, level = number, level + 1
        if extra is not None:
            self.stop_at(self.head.index + 1)


def _first_difference(stored: bytes, leaves: Sequence[bytes]) -> int:
    hashes = cut(stored)
    pairs = enumerate(zip(hashes, leaves, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(hashes), TILE_WIDTH - 1))
