"""Proving: that an entry is where the tree says, by its way through the tiles up to hashes that are known."""

from collections.abc import Sequence
from functools import lru_cache

from audit.domain.tree import cut
from audit.domain.verification import Evidence, Prefix
from shared.tlog.merkle import HASH_BYTES, root_of
from shared.tlog.tiles import TILE_HEIGHT, TILE_WIDTH

REMEMBERED_TILES = 1024
"""Tiles whose root is not worked out again while their bytes are the same: 8 MB, enough for 50,000,000 entries."""


class NotProved(Exception):
    """A tile is gone, or is not what the tree has there."""


class Proofs:
    """The tree of a verified prefix, read from tiles, none of which is believed before it leads to that tree's root."""

    def __init__(self, prefix: Prefix, evidence: Evidence) -> None:
        self._prefix = prefix
        self._evidence = evidence
        self._proved: dict[tuple[int, int], Sequence[bytes]] = {}
        bits = [bit for bit in range(prefix.tiles.size.bit_length() - 1, -1, -1) if prefix.tiles.size >> bit & 1]
        self._roots = {bit + TILE_HEIGHT: root for bit, root in zip(bits, prefix.tiles.hashes, strict=True)}

    def leaf(self, index: int) -> bytes:
        """The hash of the leaf at `index`, which is within the prefix. Raises NotProved."""
        number, place = divmod(index, TILE_WIDTH)
        if number == self._prefix.tiles.size:
            return self._prefix.leaves[place]
        return self._hashes(0, number)[place]

    def prove_upper(self) -> None:
        """All tiles above those of leaves. Raises NotProved."""
        level, count = 1, self._prefix.tiles.size
        while count:
            for number in range(-(-count // TILE_WIDTH)):
                self._hashes(level, number)
            level, count = level + 1, count // TILE_WIDTH

    def _hashes(self, level: int, number: int) -> Sequence[bytes]:
        known = self._proved.get((level, number))
        if known is not None:
            return known
        count = min(TILE_WIDTH, (self._prefix.size >> TILE_HEIGHT * level) - number * TILE_WIDTH)
        tile = (self._evidence.tile(level, number) or b"")[: count * HASH_BYTES]
        hashes = cut(tile)
        if len(tile) != count * HASH_BYTES or not self._belongs(level, number, tile, hashes):
            raise NotProved
        self._proved[level, number] = hashes
        return hashes

    def _belongs(self, level: int, number: int, tile: bytes, hashes: Sequence[bytes]) -> bool:
        if len(hashes) == TILE_WIDTH:
            above, place = divmod(number, TILE_WIDTH)
            return self._hashes(level + 1, above)[place] == _root(tile)
        start = 0
        for bit in range(TILE_HEIGHT - 1, -1, -1):
            width = len(hashes) & 1 << bit
            if width and root_of(hashes[start : start + width]) != self._roots[TILE_HEIGHT * level + bit]:
                return False
            start += width
        return True


@lru_cache(maxsize=REMEMBERED_TILES)
def _root(tile: bytes) -> bytes:
    """Remembered by the tile's bytes: another tile has another root."""
    return root_of(cut(tile))
