"""The tree over the log (RFC 6962) as it grows: its right edge is all that is needed to go on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from shared.tlog.merkle import HASH_BYTES, Frontier, root_of
from shared.tlog.tiles import TILE_HEIGHT, TILE_WIDTH


class Tile(NamedTuple):
    """Hashes of the tree that are kept together, up to 256 of 32 bytes: of leaves on level 0, else of full tiles."""

    level: int
    number: int
    hashes: bytes


@dataclass(frozen=True, slots=True)
class RightEdge:
    """The tree of the first `size` entries: of each level the hashes after its last full tile, leaves first."""

    size: int = 0
    tiles: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        widths = [self.size >> level * TILE_HEIGHT for level in range(len(self.tiles))]
        if self.size >> len(self.tiles) * TILE_HEIGHT or any(
            len(tile) != width % TILE_WIDTH * HASH_BYTES for tile, width in zip(self.tiles, widths, strict=True)
        ):
            raise ValueError("these tiles are not the edge of a tree of this size")

    def appended(self, leaf_hashes: Iterable[bytes]) -> tuple["RightEdge", list[Tile]]:
        """The tree with these leaves after its own, and the tiles to keep: full ones, and what grew above them."""
        growing = _Growing(self)
        for leaf in leaf_hashes:
            growing.push(leaf)
        return growing.edge, growing.kept

    @property
    def frontier(self) -> Frontier:
        """The roots of the complete subtrees, the largest first."""
        return Frontier(self.size, tuple(root for tile in reversed(self.tiles) for root in _complete_roots(tile)))

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        return self.frontier.root

    def tile(self, level: int, number: int) -> bytes | None:
        """The last tile of that level, if it is this one and not full."""
        is_last = level < len(self.tiles) and number == self.size >> (level + 1) * TILE_HEIGHT
        return self.tiles[level] if is_last and self.tiles[level] else None


NOTHING = RightEdge()
"""The edge of an empty tree."""


def recalled(size: int, tile: Callable[[int, int], bytes]) -> RightEdge:
    """The edge of a tree of `size` leaves from what was kept of it; raises ValueError when that is too little."""
    tiles: list[bytes] = []
    level, width = 0, size
    while width:
        number, count = divmod(width, TILE_WIDTH)
        tiles.append(tile(level, number)[: count * HASH_BYTES] if count else b"")
        level, width = level + 1, number
    return RightEdge(size, tuple(tiles))


class _Growing:
    def __init__(self, edge: RightEdge) -> None:
        self._size = edge.size
        self._tiles = [bytearray(tile) for tile in edge.tiles]
        self._full: list[Tile] = []
        self._grown: set[int] = set()

    @property
    def edge(self) -> RightEdge:
        return RightEdge(self._size, tuple(map(bytes, self._tiles)))

    @property
    def kept(self) -> list[Tile]:
        partial = [
            Tile(level, self._size >> (level + 1) * TILE_HEIGHT, bytes(self._tiles[level]))
            for level in sorted(self._grown)
            if self._tiles[level]
        ]
        return [*self._full, *partial]

    def push(self, leaf: bytes) -> None:
        self._push(0, leaf)
        self._size += 1

    def _push(self, level: int, hash: bytes) -> None:
        if level == len(self._tiles):
            self._tiles.append(bytearray())
        if level:
            self._grown.add(level)
        tile = self._tiles[level]
        tile += hash
        if len(tile) == TILE_WIDTH * HASH_BYTES:
            self._full.append(Tile(level, self._size >> (level + 1) * TILE_HEIGHT, bytes(tile)))
            self._tiles[level] = bytearray()
            self._push(level + 1, root_of(cut(bytes(tile))))


def cut(tile: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


def _complete_roots(tile: bytes) -> list[bytes]:
    """Of the largest complete subtrees over these hashes, the largest first."""
    hashes, roots = cut(tile), []
    while hashes:
        count = 1 << (len(hashes).bit_length() - 1)
        roots.append(root_of(hashes[:count]))
        hashes = hashes[count:]
    return roots
